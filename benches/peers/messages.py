"""SDMX-ML: our whole load into Delta beside sdmx1's reading into its objects."""

import re
import sys

from ingest import fresh
from process import in_turns, peer, timed

ROWS = re.compile(r"MB, (\d+) rows, (\d+) rejected")


def prepare(bench):
    message = bench.work / "generic.xml"
    if not message.exists():
        half = bench.work / "generic.making"
        timed([bench.benches, "sdmx-message", "--observations", "300000", "--out", half])
        half.rename(message)
    message.read_bytes()  # Warm for both.
    return message


def sdmx(bench):
    message = prepare(bench)

    def ours():
        with fresh(bench.work) as folder:
            return timed([bench.hambar, "bench", message, "--as-text", "--keep", folder])

    series = in_turns({
        "hambar": ours,
        "sdmx1": lambda: peer(sys.executable, "sdmx_read.py", {"source": message}),
    }, bench.times)
    mine, theirs = series["hambar"], series["sdmx1"]
    megabytes = message.stat().st_size / 1e6
    task = f"SDMX-ML generic, {megabytes:.0f} MB: to Delta (peer: to objects)"
    if not mine.error and not theirs.error:
        found = int(ROWS.search(mine.runs[0].out).group(1)), theirs.runs[0].facts["rows"]
        if found[0] != found[1]:
            bench.table.fail(task, "sdmx1", f"observations differ: {found[0]:,} / {found[1]:,}")
            return
        note = f"{found[0]:,} observations on both sides; {megabytes / mine.seconds:.1f} / {megabytes / theirs.seconds:.1f} MB/s"
        bench.table.add(task, mine, "sdmx1", theirs, note)
        return
    bench.table.add(task, mine, "sdmx1", theirs)
