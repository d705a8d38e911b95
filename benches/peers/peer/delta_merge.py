"""delta-rs' MERGE of a file into a table, in a process of its own.

Changed rows alone need no condition; of a full extract only rows that differ are updated, and rows that left it are deleted.
"""

import json
import os
import sys
import time

import pyarrow
import pyarrow.parquet
from deltalake import DeltaTable

task = json.loads(sys.argv[1])
file = pyarrow.parquet.ParquetFile(task["source"])
rows = pyarrow.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches(65536))
begin = time.monotonic()
merge = DeltaTable(task["target"]).merge(
    rows, "t.id = s.id", source_alias="s", target_alias="t", streamed_exec=task["streamed"]
)
if task["mode"] == "upsert":
    merge = merge.when_matched_update_all().when_not_matched_insert_all()
else:
    differs = " or ".join(f"t.{name} <> s.{name}" for name in file.schema_arrow.names if name != "id")
    merge = merge.when_matched_update_all(predicate=differs).when_not_matched_insert_all().when_not_matched_by_source_delete()
done = merge.execute()
seconds = time.monotonic() - begin
print(json.dumps({"seconds": seconds, "revised": done["num_target_rows_updated"]}), flush=True)
os._exit(0)  # Threads of Arrow and delta-rs do not always end in order.
