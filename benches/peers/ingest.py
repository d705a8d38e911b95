"""Loading files: into Delta here, into Parquet or Delta there, each time into a fresh folder that is removed after.

What both sides stored is compared: types, rows, the sum of a column, and the sum of a hash over all cells of each row.
Ours is the time of the whole process; a peer's is that of its engine alone, without the start of Python and its imports.
"""

import contextlib
import math
import pathlib
import re
import sys
import tempfile

import duckdb

from process import Failed, in_turns, peer, timed

WHOLE = re.compile(r"^\s*whole\s+([\d.]+) s", re.MULTILINE)


@contextlib.contextmanager
def fresh(work):
    """A folder that is new and goes again."""
    outputs = work / "outputs"
    outputs.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=outputs, ignore_cleanup_errors=True) as folder:
        yield pathlib.Path(folder)


class Content:
    """What a load stored."""

    def __init__(self, files, sum_of):
        con = duckdb.connect()
        con.execute("SET threads = 2")
        source = f"read_parquet({files!r}, hive_partitioning = true, hive_types_autocast = false)"
        described = con.execute(f"DESCRIBE FROM {source}").fetchall()
        # Columns that a loader adds begin with `_`.
        self.types = {row[0]: row[1] for row in described if not row[0].startswith("_")}
        # White space around a text is no part of it here, and a blank text is NULL; peers keep both.
        cells = ", ".join(
            f"nullif(trim(\"{name}\", E' \\t\\r\\n\\u00a0'), '')" if self.types[name] == "VARCHAR" else f'"{name}"'
            for name in sorted(self.types))
        self.rows, self.sum, self.hash = con.execute(
            f'SELECT count(*), coalesce(sum(TRY_CAST("{sum_of}" AS DOUBLE)) FILTER (isfinite(TRY_CAST("{sum_of}" AS DOUBLE))), 0), sum(hash({cells})::HUGEINT) FROM {source}'
        ).fetchone()
        self.bytes = sum(pathlib.Path(row[0]).stat().st_size for row in con.execute(
            f"SELECT DISTINCT filename FROM read_parquet({files!r}, filename = true, hive_partitioning = false)").fetchall())

    def against(self, other, sum_of):
        """Says that both hold the same; raises where they do not."""
        kinds = sorted(set(self.types.values()))
        if self.rows != other.rows or not math.isclose(self.sum or 0, other.sum or 0, rel_tol=1e-9):
            raise Failed(f"contents differ: {self.rows:,} / {other.rows:,} rows, sum({sum_of}) {self.sum} / {other.sum}")
        stored = f"{self.bytes / 1e6:.0f} / {other.bytes / 1e6:.0f} MB stored"
        alike = f"{self.rows:,} rows, sum({sum_of}) = {self.sum:.6g} on both sides"
        if self.types == other.types:
            if self.hash != other.hash:
                raise Failed(f"cells differ, though rows, types and sums are equal: {self.types}")
            return f"same types ({', '.join(kinds)}), {alike}, all cells alike, {stored}"
        others = [f"{name} {mine} / {other.types.get(name)}" for name, mine in self.types.items() if mine != other.types.get(name)]
        return f"TYPES DIFFER ({', '.join(others)}), {alike}, {stored}"


class Load:
    """One way to load a file. `start` runs it into a folder; `files` says which Parquet files hold the table then."""

    def __init__(self, work, sum_of, files, start):
        self.work, self.sum_of, self.files, self.start = work, sum_of, files, start
        self.content = None

    def __call__(self):
        with fresh(self.work) as folder:
            ended = self.start(folder)
            if self.content is None:
                try:
                    self.content = Content(str(folder / self.files), self.sum_of)
                except duckdb.Error as error:
                    raise Failed(f"read what was stored: {error}") from error
            return ended


def ours(bench, source, sum_of, *options):
    """`hambar bench`, the whole process."""
    files = f"tables/bench/{source.stem.replace('-', '_')}/**/*.parquet"
    return Load(bench.work, sum_of, files, lambda folder: timed([bench.hambar, "bench", source, "--keep", folder, *options]))


def without_look(load):
    """The same, but timed without the look at the file for its types, which is no part of a run."""
    def start():
        ended = load()
        ended.seconds = float(WHOLE.search(ended.out).group(1))
        return ended

    return start


def duckdb_copy(bench, read, sum_of, partition):
    def start(folder):
        target = folder / "out" if partition else folder / "out.parquet"
        return peer(sys.executable, "duckdb_copy.py", {"source": read, "target": target, "partition": partition})

    return Load(bench.work, sum_of, "out/**/*.parquet" if partition else "out.parquet", start)


def polars_sink(bench, source, sum_of, partition, columns):
    def start(folder):
        target = folder / "out" if partition else folder / "out.parquet"
        task = {"source": source, "target": target, "partition": partition, "columns": columns}
        return peer(sys.executable, "polars_sink.py", task)

    return Load(bench.work, sum_of, "out/**/*.parquet" if partition else "out.parquet", start)


def report(bench, task, sum_of, loads, runs=None):
    """Runs the loads by turns and adds a row for each peer; the first one is ours."""
    series = in_turns(runs or loads, bench.times)
    names = list(loads)
    mine = series[names[0]]
    for name in names[1:]:
        try:
            note = "" if mine.error or series[name].error else loads[names[0]].content.against(loads[name].content, sum_of)
            bench.table.add(task, mine, name, series[name], note)
        except Failed as error:
            bench.table.fail(task, name, str(error))


def options_of(partition):
    return ["--partition-by", partition] if partition else []


def text(bench, source, partition):
    """Every column as text on both sides."""
    by = f" by {partition}" if partition else ""
    columns = ["dataset", "variable", "entity", "year", "value"]
    if source.suffix == ".ndjson":
        kinds = ", ".join(f"'{name}': 'VARCHAR'" for name in columns)
        read = f"read_json('{source}', format = 'newline_delimited', columns = {{{kinds}}})"
    else:
        read = f"read_csv('{source}', all_varchar = true)"
    report(bench, f"{source.name}{by}, all as text, to Delta", "value", {
        "hambar": ours(bench, source, "value", "--as-text", *options_of(partition)),
        "DuckDB COPY to Parquet": duckdb_copy(bench, read, "value", partition),
        "Polars sink_parquet": polars_sink(bench, source, "value", partition, columns),
    })


def typed(bench, source, partition):
    """With types: those that each side finds itself, then the same ones, known before, on both sides."""
    by = f" by {partition}" if partition else ""
    first = ours(bench, source, "value", *options_of(partition))
    try:
        first()
    except Failed as error:
        bench.table.fail(f"{source.name}{by}, typed", "", str(error))
        return
    sniffed = f"read_csv('{source}')"
    sniffing = "DuckDB COPY, sniffing as it does by default"
    try:
        duckdb_copy(bench, sniffed, "value", partition)()
    except Failed as error:
        print(f"DuckDB's default sniffing does not load this file, it gets sample_size = -1: {error}"[:400])
        sniffed = f"read_csv('{source}', sample_size = -1)"
        sniffing = "DuckDB COPY, sniffing all rows (its default sample fails)"
    report(bench, f"{source.name}{by}, types found by each side, to Delta", "value", {
        "hambar": ours(bench, source, "value", *options_of(partition)),
        sniffing: duckdb_copy(bench, sniffed, "value", partition),
    })
    order = source.open().readline().strip().split(",")
    kinds = ", ".join(f"'{name}': '{first.content.types[name]}'" for name in order)
    known = f"read_csv('{source}', auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"', columns = {{{kinds}}})"
    loads = {
        "hambar": ours(bench, source, "value", *options_of(partition)),
        "DuckDB COPY, given our types and dialect": duckdb_copy(bench, known, "value", partition),
    }
    runs = {"hambar": without_look(loads["hambar"])}
    report(bench, f"{source.name}{by}, the same types known before, to Delta", "value", loads, loads | runs)


def csv(bench):
    text(bench, bench.inputs.observations(), None)


def csv_by_dataset(bench):
    text(bench, bench.inputs.observations(), "dataset")


def csv_typed(bench):
    typed(bench, bench.inputs.observations(), None)


def csv_typed_by_dataset(bench):
    typed(bench, bench.inputs.observations(), "dataset")


def ndjson(bench):
    text(bench, bench.inputs.observations_ndjson(), None)


def ndjson_by_dataset(bench):
    text(bench, bench.inputs.observations_ndjson(), "dataset")


def larger(bench):
    text(bench, bench.inputs.observations_larger(bench.larger), None)


def larger_by_dataset(bench):
    text(bench, bench.inputs.observations_larger(bench.larger), "dataset")


def dlt(bench):
    """Types found by each side; dlt through both of its readers of CSV."""
    source = bench.inputs.flights()
    sum_of = source.open().readline().strip().split(",")[1]

    def through(reader):
        task = {"source": source, "reader": reader}
        start = lambda folder: peer(sys.executable, "dlt_load.py", task | {"folder": folder})
        return Load(bench.work, sum_of, "out/bench/flights/*.parquet", start)

    report(bench, f"{source.name}, types found by each side, to Delta", sum_of, {
        "hambar": ours(bench, source, sum_of),
        "dlt, its DuckDB reader with Arrow": through("duckdb"),
        "dlt, its pandas reader": through("pandas"),
    })
