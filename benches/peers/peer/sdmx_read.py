"""sdmx1's reading of a message into its objects."""

import json
import sys
import time

import sdmx

task = json.loads(sys.argv[1])
begin = time.monotonic()
message = sdmx.read_sdmx(task["source"])
print(json.dumps({"seconds": time.monotonic() - begin, "rows": sum(len(part.obs) for part in message.data)}), flush=True)
