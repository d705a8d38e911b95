"""The table that delta-rs will merge into, written by delta-rs."""

import json
import sys
import time

import pyarrow
import pyarrow.parquet
from deltalake import write_deltalake

task = json.loads(sys.argv[1])
begin = time.monotonic()
file = pyarrow.parquet.ParquetFile(task["source"])
write_deltalake(task["target"], pyarrow.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches(65536)))
print(json.dumps({"seconds": time.monotonic() - begin}), flush=True)
