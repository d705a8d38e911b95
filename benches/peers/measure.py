"""Measures Hambar beside its peers, all in one run on one machine, and prints one table of ratios.

Every task runs in a process of its own, ours and the peers' by turns; the fastest repetition counts for time and the
largest for memory, which is that of the process and its children together. Inputs are made once and read before, so that
caches are warm for everybody; outputs go to a fresh folder each time and are removed after. Two threads on every side.
"""

import argparse
import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import ingest
import messages
import refresh
import scan
from inputs import Inputs
from process import Failed
from table import Table

PARTS = {
    "csv": ingest.csv,
    "csv-by-dataset": ingest.csv_by_dataset,
    "typed": ingest.csv_typed,
    "typed-by-dataset": ingest.csv_typed_by_dataset,
    "ndjson": ingest.ndjson,
    "ndjson-by-dataset": ingest.ndjson_by_dataset,
    "larger": ingest.larger,
    "larger-by-dataset": ingest.larger_by_dataset,
    "dlt": ingest.dlt,
    **refresh.cases(),
    "sdmx": messages.sdmx,
    "scan": scan.scan,
    "once": scan.once,
}
# What has to be made before a part, by the beginning of its name.
PREPARED = {
    "csv": lambda bench: bench.inputs.observations(),
    "typed": lambda bench: bench.inputs.observations(),
    "ndjson": lambda bench: bench.inputs.observations_ndjson(),
    "larger": lambda bench: bench.inputs.observations_larger(bench.larger),
    "dlt": lambda bench: bench.inputs.flights(),
    "refresh": refresh.prepare,
    "sdmx": messages.prepare,
    "scan": scan.prepare,
    "once": scan.prepare,
}
HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = ("duckdb", "polars", "deltalake", "dlt", "sdmx1", "pyarrow")


def chosen(only):
    """The parts of a list of names; `refresh*` stands for every part whose name begins so."""
    parts = []
    for name in only.split(","):
        found = [part for part in PARTS if part == name or (name.endswith("*") and part.startswith(name[:-1]))]
        if not found:
            raise SystemExit(f"there is no part `{name}`; the parts are {', '.join(PARTS)}; `refresh*` stands for all that begin so")
        parts += found
    return parts


class Bench:
    """What every part needs to know."""

    def __init__(self, arguments, work):
        self.work = work
        self.times = arguments.times
        self.rows = arguments.rows
        self.larger = arguments.larger
        self.table = Table()
        self.inputs = Inputs(work, arguments.shared)
        self.hambar = arguments.binaries / "hambar"
        self.benches = arguments.binaries / "hambar-benches"


def say_where(bench):
    """The machine and the versions."""
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    memory = int(open("/proc/meminfo").readline().split()[1]) / 2**20
    version = subprocess.run([bench.hambar, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    print(f"{os.cpu_count()} processors ({model}), {memory:.0f} GiB; load {os.getloadavg()[0]:.1f}; {version}; {packages}")


def arguments_of():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", type=pathlib.Path, required=True, help="folder of `hambar` and `hambar-benches`, release builds")
    parser.add_argument("--data", type=pathlib.Path, help="folder for inputs, kept; a temporary one when absent")
    parser.add_argument("--shared", type=pathlib.Path, default=HERE.parents[2] / "shared" / "bench", help="folder of the real tables")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts: {', '.join(PARTS)}; `refresh*` stands for all that begin so")
    parser.add_argument("--times", type=int, default=3, help="repetitions; what takes over 30 s runs once")
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the refreshed table")
    parser.add_argument("--larger", type=int, default=10, help="how many times over the observations stand in the larger file")
    parser.add_argument("--prepare", action="store_true", help="only make the inputs of the parts")
    return parser.parse_args()


def main():
    arguments = arguments_of()
    if arguments.times < 1 or arguments.rows < 1000 or arguments.larger < 1:
        raise SystemExit("--times and --larger are at least 1, --rows at least 1000")
    parts = chosen(arguments.only)
    arguments.binaries = arguments.binaries.resolve()
    work = arguments.data.resolve() if arguments.data else pathlib.Path(tempfile.mkdtemp(prefix="hambar-peers-"))
    work.mkdir(parents=True, exist_ok=True)
    bench = Bench(arguments, work)
    try:
        say_where(bench)
        for name in parts:
            print(f"part {name}", flush=True)
            try:
                prepared = next(make for start, make in PREPARED.items() if name == start or name.startswith(f"{start}-"))
                prepared(bench) if arguments.prepare else PARTS[name](bench)
            except Failed as error:
                bench.table.fail(name, "", str(error))
        bench.table.print()
    finally:
        shutil.rmtree(work / "outputs", ignore_errors=True)
        if not arguments.data:
            shutil.rmtree(work, ignore_errors=True)
    return 1 if bench.table.failures else 0


if __name__ == "__main__":
    sys.exit(main())
