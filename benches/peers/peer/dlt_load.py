"""dlt's load of a CSV file into a Delta table, through one of its own readers."""

import json
import os
import sys
import time

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
import dlt
from dlt.sources.filesystem import filesystem, read_csv, read_csv_duckdb

task = json.loads(sys.argv[1])
os.chdir(task["folder"])
place, name = os.path.split(task["source"])
reader = read_csv() if task["reader"] == "pandas" else read_csv_duckdb(use_pyarrow=True)
begin = time.monotonic()
pipeline = dlt.pipeline(
    "bench",
    pipelines_dir=os.path.join(task["folder"], "state"),
    destination=dlt.destinations.filesystem("file://" + os.path.join(task["folder"], "out")),
    dataset_name="bench",
)
done = pipeline.run((filesystem("file://" + place, file_glob=name) | reader).with_name("flights"), table_format="delta")
done.raise_on_failed_jobs()
print(json.dumps({"seconds": time.monotonic() - begin}), flush=True)
