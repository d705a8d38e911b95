"""Reads a server over the Postgres protocol into Arrow with ADBC, and joins its tables in DuckDB."""

import sys
import urllib.parse

import adbc_driver_postgresql.dbapi
import duckdb
import duckdb_extensions

HOST, PORT, PASSWORD = sys.argv[1:4]
USER = "tests/all"

address = f"postgresql://{urllib.parse.quote(USER, safe='')}:{PASSWORD}@{HOST}:{PORT}/hambar?sslmode=disable"
with adbc_driver_postgresql.dbapi.connect(address) as connection, connection.cursor() as cursor:
    cursor.execute("SELECT id, country, year, value FROM demo.figures ORDER BY id")
    table = cursor.fetch_arrow_table()
    print("adbc", table.num_rows, [str(kind) for kind in table.schema.types], table.column("id").to_pylist()[-1])
    cursor.execute("SELECT id FROM demo.figures WHERE country = $1 AND id > $2 ORDER BY id", ("GRC", 1990))
    print("adbc bound", cursor.fetch_arrow_table().column("id").to_pylist())
    cursor.execute("""SELECT true, 1::smallint, 2::int, 3::bigint, 1.5::double, 'ü', NULL, DATE '2024-01-31',
        TIMESTAMP '2024-01-31 12:00:00.5', arrow_cast('ab', 'Binary'), make_array(1, 2, NULL)""")
    print("adbc types", cursor.fetchone())
    print("adbc schema", connection.adbc_get_table_schema("figures", db_schema_filter="demo").names[:4])
    objects = connection.adbc_get_objects(depth="all", db_schema_filter="demo").read_all().to_pylist()
    tables = [table for place in objects for schema in place["catalog_db_schemas"] for table in schema["db_schema_tables"]]
    print("adbc objects", [(table["table_name"], len(table["table_columns"])) for table in tables])

engine = duckdb.connect()
duckdb_extensions.import_extension("postgres_scanner", con=engine)
engine.execute("LOAD postgres_scanner")
engine.execute(f"""ATTACH 'host={HOST} port={PORT} user={USER} password={PASSWORD} dbname=hambar sslmode=disable' AS hambar
    (TYPE postgres, READ_ONLY, ISOLATION_LEVEL 'READ COMMITTED')""")
print("duckdb", engine.execute("SELECT count(*), sum(id), min(note) FROM hambar.demo.figures").fetchone())
print("duckdb filter", engine.execute("SELECT value FROM hambar.demo.figures WHERE id = 7").fetchone())
print("duckdb join", engine.execute("""SELECT count(*) FROM hambar.demo.figures a JOIN hambar.closed.numbers b
    USING (id)""").fetchone())
# DuckDB asks for the statement as a part of its own, and parts have no order.
print("duckdb query", engine.execute("""SELECT * FROM postgres_query('hambar',
    'SELECT country, count(*) AS n FROM demo.figures GROUP BY 1') ORDER BY 1""").fetchall())
