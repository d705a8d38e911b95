"""Refresh of a keyed table of which one row in a thousand changed, beside delta-rs' MERGE.

Both sides read the same Parquet files, and each table is compared with the extract that it must be equal to after. A
MERGE runs in a process of its own over a copy of a table that delta-rs wrote; ours loads its table first, in the same
process, so its memory is that of the refresh alone where the system can tell, else the peak of that process's last seconds.
"""

import shutil
import sys

import duckdb
from deltalake import DeltaTable

from ingest import fresh
from process import Failed, in_turns, peer, timed

CELLS = "id, country, indicator, year, value"


def content(files):
    """Rows and the sum of a hash over all cells of each."""
    con = duckdb.connect()
    con.execute("SET threads = 2")
    return con.execute(f"SELECT count(*), sum(hash({CELLS})::HUGEINT) FROM read_parquet({files!r})").fetchone()


class Refresh:
    """One way to refresh. `start` leaves a Delta table at `table` within the folder."""

    def __init__(self, work, expected, table, start):
        self.work, self.expected, self.table, self.start = work, expected, table, start
        self.checked = False

    def __call__(self):
        with fresh(self.work) as folder:
            ended = self.start(folder)
            if not self.checked:
                files = DeltaTable(folder / self.table).file_uris()
                found, expected = content(files), content(str(self.expected))
                if found != expected:
                    raise Failed(f"the refreshed table is wrong: {found[0]:,} rows, expected {expected[0]:,}, or their cells differ")
                self.checked = True
            return ended


def ours(bench, data, mode, spread):
    def start(folder):
        ended = timed([bench.benches, "refresh", "--data", data, "--mode", mode, "--spread", spread, "--work", folder / "store"])
        facts = ended.lines()[-1]
        # The highest mark of a process never falls: where the first load set it, only looks at the memory tell.
        is_told = facts["peak_bytes"] > facts["first_peak_bytes"]
        ended.peak = facts["peak_bytes"] if is_told else ended.peak_of_last(facts["seconds"])
        ended.seconds = facts["seconds"]
        ended.facts = facts
        return ended

    return Refresh(bench.work, data / f"snapshot-{spread}.parquet", "store/tables/bench/refresh", start)


def merge(bench, data, base, mode, spread, streamed):
    def start(folder):
        shutil.copytree(base, folder / "table")
        task = {"source": data / f"{mode}-{spread}.parquet", "target": folder / "table", "mode": mode, "streamed": streamed}
        return peer(sys.executable, "delta_merge.py", task)

    return Refresh(bench.work, data / f"snapshot-{spread}.parquet", "table", start)


def prepare(bench):
    """The inputs, and the table that delta-rs merges into."""
    data = bench.work / f"refresh-{bench.rows}"
    base = data / "delta-rs"
    if not base.exists():
        half = bench.work / f"refresh-{bench.rows}.making"
        shutil.rmtree(half, ignore_errors=True)
        timed([bench.benches, "refresh-data", "--rows", bench.rows, "--out", half])
        peer(sys.executable, "delta_base.py", {"source": half / "base.parquet", "target": half / "delta-rs"})
        shutil.rmtree(data, ignore_errors=True)
        half.rename(data)
    for file in sorted(data.rglob("*.parquet")):
        file.read_bytes()  # Warm for both.
    return data, base


def refresh(bench, mode, spread):
    data, base = prepare(bench)
    sent = {"upsert": "the changed rows are sent", "snapshot": "the full extract is sent"}[mode]
    task = f"refresh of {bench.rows:,} rows, 0.1 % changed, {spread}, {sent}"
    series = in_turns({
        "hambar": ours(bench, data, mode, spread),
        "delta-rs MERGE, streamed": merge(bench, data, base, mode, spread, True),
        "delta-rs MERGE, not streamed": merge(bench, data, base, mode, spread, False),
    }, bench.times)
    mine = series.pop("hambar")
    for name, theirs in series.items():
        if mine.error or theirs.error:
            bench.table.add(task, mine, name, theirs)
            continue
        revised = mine.runs[0].facts["revised"], theirs.runs[0].facts["revised"]
        if revised != (bench.rows // 1000,) * 2:
            bench.table.fail(task, name, f"revised {revised[0]:,} / {revised[1]:,} rows instead of {bench.rows // 1000:,}")
            continue
        first = mine.runs[0].facts["first_peak_bytes"] / 2**20
        bench.table.add(task, mine, name, theirs, f"{revised[0]:,} rows revised; both tables as they must be; our first load had {first:.0f} MiB; ours also keeps the old rows")


def cases():
    """A part of its own for every case."""
    parts = {}
    for mode in ("upsert", "snapshot"):
        for spread in ("clustered", "scattered"):
            parts[f"refresh-{mode}-{spread}"] = lambda bench, mode=mode, spread=spread: refresh(bench, mode, spread)
    return parts
