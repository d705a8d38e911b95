"""Polars' streaming scan of a file into Parquet with zstd, every column as text."""

import json
import os
import sys
import time

os.environ["POLARS_MAX_THREADS"] = "2"
import polars

task = json.loads(sys.argv[1])
begin = time.monotonic()
if task["source"].endswith("json"):
    frame = polars.scan_ndjson(task["source"], schema={name: polars.String for name in task["columns"]})
else:
    frame = polars.scan_csv(task["source"], infer_schema=False)
target = task["target"]
if task["partition"]:
    target = polars.PartitionBy(target, key=task["partition"])
frame.sink_parquet(target, compression="zstd", mkdir=True)
print(json.dumps({"seconds": time.monotonic() - begin}), flush=True)
