"""DuckDB's COPY of a query into Parquet with zstd. Settings are the defaults but for the threads."""

import json
import sys
import time

import duckdb

task = json.loads(sys.argv[1])
con = duckdb.connect()
con.execute("SET threads = 2")
by = f", PARTITION_BY ({task['partition']})" if task["partition"] else ""
begin = time.monotonic()
con.execute(f"COPY (FROM {task['source']}) TO '{task['target']}' (FORMAT parquet, COMPRESSION zstd{by})")
print(json.dumps({"seconds": time.monotonic() - begin}), flush=True)
