"""DuckDB's answers to a folder of queries: one process, one connection, the fastest of five from the text of a query to
its last row as an Arrow table. `duckdb/` holds the queries that DuckDB writes differently. The metadata of the files is
kept between queries, as Hambar's session keeps it."""

import decimal
import json
import pathlib
import sys
import time

import duckdb

TIMES = 5


def plain(value):
    """What JSON has no word for: sums of integers come as decimals, instants as their text."""
    if isinstance(value, decimal.Decimal):
        return int(value) if value == int(value) else float(value)
    return str(value)


task = json.loads(sys.argv[1])
begin = time.monotonic()
con = duckdb.connect()
con.execute("SET threads = 2")
con.execute("SET TimeZone = 'UTC'")
con.execute("SET parquet_metadata_cache = true")
con.execute("CREATE SCHEMA bench")
for table, paths in task["files"].items():
    con.execute(f"CREATE VIEW {table} AS FROM read_parquet({paths}, hive_partitioning = false)")
folder = pathlib.Path(task["queries"])
for path in sorted(folder.glob("*.sql")):
    own = folder / "duckdb" / path.name
    text = (own if own.exists() else path).read_text()
    fastest = None
    for _ in range(TIMES):
        start = time.monotonic()
        answer = con.sql(text).to_arrow_table()
        seconds = time.monotonic() - start
        fastest = seconds if fastest is None else min(fastest, seconds)
    rows = [list(row.values()) for row in answer.to_pylist()]
    print(json.dumps({"query": path.stem, "seconds": fastest, "columns": answer.column_names, "rows": rows}, default=plain))
print(json.dumps({"seconds": time.monotonic() - begin}), flush=True)
