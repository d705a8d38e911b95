"""The rows that every server gets: a million made ones, as CSV for Hambar, Parquet for ROAPI and SQLite for Datasette."""

import sqlite3

import numpy
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

ROWS = 1_000_000
COUNTRIES = 200
COLUMNS = ("id", "country", "year", "indicator", "value", "note")


def rows():
    """Observations by country and year, in the order of their key."""
    number = numpy.arange(ROWS)
    countries = pa.array([f"C{code:03}" for code in range(COUNTRIES)])
    indicators = pa.array([f"indicator {code}" for code in range(90)])
    return pa.table({
        "id": pa.array(number, pa.int64()),
        "country": countries.take(pa.array(number % COUNTRIES)),
        "year": pa.array(1960 + number // COUNTRIES % 60, pa.int32()),
        "indicator": indicators.take(pa.array(number // 12_000 % 90)),
        "value": pa.array(numpy.round(numpy.sin(number) * 1000, 3), pa.float64()),
        "note": pa.array([f"note on observation {row}" for row in range(ROWS)]),
    })


def make(folder):
    """Writes what is not there yet."""
    csv, parquet, database = folder / "facts.csv", folder / "facts.parquet", folder / "bench.db"
    if csv.exists() and parquet.exists() and database.exists():
        return
    table = rows()
    pyarrow.csv.write_csv(table, csv)
    pyarrow.parquet.write_table(table, parquet)
    database.unlink(missing_ok=True)
    unfinished = folder / "bench.db.unfinished"
    unfinished.unlink(missing_ok=True)
    connection = sqlite3.connect(unfinished)
    connection.execute("CREATE TABLE facts (id INTEGER PRIMARY KEY, country TEXT, year INTEGER, indicator TEXT, value REAL, note TEXT)")
    for batch in table.to_batches(max_chunksize=50_000):
        connection.executemany("INSERT INTO facts VALUES (?, ?, ?, ?, ?, ?)", zip(*(column.to_pylist() for column in batch.columns)))
    # What a careful person would give it for the questions of this measurement.
    connection.execute("CREATE INDEX facts_country ON facts (country)")
    connection.execute("ANALYZE")
    connection.commit()
    connection.close()
    unfinished.rename(database)
