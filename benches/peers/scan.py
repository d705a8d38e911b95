"""Scan queries: the same Parquet files under both engines, answers compared cell by cell, warm.

Each engine runs all queries in one process with one open session, every query five times; that is repeated by turns, and
the fastest of all counts. Times are of the engine, from the text of the query to its last row.
"""

import datetime
import json
import math
import pathlib
import shutil
import sys

from process import Failed, in_turns, peer, timed

QUERIES = pathlib.Path(__file__).resolve().parent.parent / "queries"
TABLES = ("bench.observations", "bench.flights", "bench.delays", "bench.delays__history")


def instant(text):
    """A text as an instant, where it is one: engines spell the same instant in different ways."""
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.timezone.utc)


def same(mine, theirs):
    """Whether two cells are equal: numbers within 1e-9 of each other (sums in another order), instants however spelt."""
    if isinstance(mine, (int, float)) and isinstance(theirs, (int, float)):
        return mine == theirs or math.isclose(mine, theirs, rel_tol=1e-9)
    if mine == theirs:
        return True
    if mine is None and isinstance(theirs, float):
        # JSON has no other way to write what is no finite number.
        return not math.isfinite(theirs)
    if isinstance(mine, str) and isinstance(theirs, str) and len(mine) >= 10:
        left, right = instant(mine), instant(theirs)
        return left is not None and left == right
    return False


def difference(mine, theirs):
    """What differs between two answers; nothing where they are equal."""
    rows, columns = theirs["rows"], theirs["columns"]
    if len(mine["rows"]) != len(rows):
        return f"rows differ: {len(mine['rows'])} / {len(rows)}"
    for number, (ours, peer_row) in enumerate(zip(mine["rows"], rows)):
        if set(ours) - set(columns):
            return f"columns differ: {sorted(ours)} / {sorted(columns)}"
        for name, value in zip(columns, peer_row):
            # Our rows are objects without the cells that are NULL.
            if not same(ours.get(name), value):
                return f"row {number}, column `{name}` differs: {ours.get(name)!r} / {value!r}"
    return ""


def fastest(series):
    """For every query its line of the fastest repetition."""
    found = {}
    for run in series.runs:
        for line in run.lines():
            held = found.get(line.get("query"))
            if "query" in line and (held is None or line["seconds"] < held["seconds"]):
                found[line["query"]] = line
    return found


def prepare(bench):
    """The store of the queries, loaded from two Parquet files, and the files of its tables."""
    observations, flights = bench.inputs.scanned()
    store = bench.work / "scan-store"
    if not store.exists():
        half = bench.work / "scan-store.making"
        shutil.rmtree(half, ignore_errors=True)
        timed([bench.benches, "load", "--observations", observations, "--flights", flights, "--store", half])
        half.rename(store)
    files = timed([bench.benches, "files", "--store", store]).lines()[-1]
    for table in TABLES:
        for file in files[table]:
            pathlib.Path(file).read_bytes()  # Warm for both, and there.
    return store, files


def scan(bench):
    store, files = prepare(bench)
    series = in_turns({
        "hambar": lambda: timed([bench.benches, "scan", "--store", store, "--queries", QUERIES]),
        "duckdb": lambda: peer(sys.executable, "duckdb_scan.py", {"files": files, "queries": QUERIES}),
    }, bench.times, slow_seconds=math.inf)  # Both sides get as many chances.
    if series["hambar"].error or series["duckdb"].error:
        bench.table.add("scan", series["hambar"], "DuckDB", series["duckdb"])
        return
    mine, theirs = fastest(series["hambar"]), fastest(series["duckdb"])
    wanted = sorted(path.stem for path in QUERIES.glob("*.sql"))
    ratios = []
    for query in wanted:
        if query not in mine or query not in theirs:
            bench.table.fail(query, "DuckDB", "no answer of " + ("ours" if query not in mine else "DuckDB"))
            continue
        wrong = difference(mine[query], theirs[query])
        if wrong:
            bench.table.fail(query, "DuckDB", wrong)
            continue
        seconds, peers = mine[query]["seconds"], theirs[query]["seconds"]
        ratios.append(peers / seconds)
        cells = sum(len(row) for row in theirs[query]["rows"])
        bench.table.row(query, "DuckDB", f"{seconds:.4f}", f"{peers:.4f}", f"{peers / seconds:.2f}", "", f"{cells} cells equal")
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        peaks = f"{series['hambar'].peak / 2**20:.0f} / {series['duckdb'].peak / 2**20:.0f}"
        runs = len(series["hambar"].runs)
        bench.table.row(f"geometric mean of {len(ratios)} of {len(wanted)} queries", "DuckDB", "", "", f"{mean:.2f}", peaks,
                        f"{sum(ratio < 1 for ratio in ratios)} losses; fastest of 5 in each of {runs} processes by turns")


def once(bench):
    """A whole `hambar sql` over a small and a large table, beside a whole process of Python with DuckDB."""
    store, files = prepare(bench)
    for table in ("bench.delays__history", "bench.observations"):
        query = f"SELECT count(*) AS n FROM {table}"
        foreign = query.replace(table, f"read_parquet({files[table]})")
        series = in_turns({
            "hambar": lambda: timed([bench.hambar, "--store", store, "sql", "--format", "csv", query]),
            "duckdb": lambda: timed([sys.executable, pathlib.Path(__file__).parent / "peer" / "duckdb_once.py", foreign]),
        }, max(bench.times, 5))
        task = f"a whole process for count(*) of {table}"
        mine, theirs = series["hambar"], series["duckdb"]
        if not mine.error and not theirs.error:
            found = mine.runs[0].out.split()[-1], theirs.runs[0].out.strip().strip("[](),")
            if found[0] != found[1]:
                bench.table.fail(task, "Python with DuckDB", f"answers differ: {found[0]} / {found[1]}")
                continue
        bench.table.add(task, mine, "Python with DuckDB", theirs)
