"""Asks a server over the Postgres protocol as its clients do, and prints what they got, one line for each thing."""

import datetime
import decimal
import sys
import threading
import time
import uuid

import psycopg
import sqlalchemy
from sqlalchemy import MetaData, Table, create_engine, func, inspect, select, text

HOST, PORT, PASSWORD, ENDLESS = sys.argv[1:5]
OPTIONS = dict(host=HOST, port=PORT, user="tests/all", password=PASSWORD, dbname="hambar", sslmode="disable")
MANY = "SELECT v FROM generate_series(1, 1000) t(v)"


def types_come_as_they_are():
    with psycopg.connect(**OPTIONS) as connection:
        print("count", *connection.execute("SELECT count(*), sum(id) FROM demo.figures").fetchone())
        for binary in (False, True):
            cursor = connection.cursor(binary=binary)
            cursor.execute("""SELECT true, 1::smallint, 2::int, 3::bigint, 1.5::double, 12.50::decimal(10,2), 'ü', NULL,
                DATE '2024-01-31', TIMESTAMP '2024-01-31 12:00:00.5', arrow_cast('ab', 'Binary'),
                make_array(1, 2, NULL)""")
            print("types", binary, cursor.fetchone())


def values_go_as_they_are():
    utc = datetime.timezone.utc
    values = [
        True, 1, -5, 2**31, 2**62, 10**25, 1.5, decimal.Decimal("12.50"), decimal.Decimal("-1E+10"), "ü", b"ab\x00",
        None, datetime.date(2024, 1, 31), datetime.datetime(2024, 1, 31, 12, 0, 0, 5), datetime.time(1, 2, 3),
        datetime.datetime(2024, 1, 31, 12, tzinfo=utc), datetime.timedelta(days=1, seconds=3), [1, 2, None],
        [1.5, None],
    ]
    with psycopg.connect(**OPTIONS, autocommit=True) as connection:
        changed = []
        for binary in (False, True):
            for way in ("%s", "%b", "%t"):
                for value in values:
                    came = connection.execute(f"SELECT {way}", (value,), binary=binary).fetchone()[0]
                    if came != value:
                        changed.append((binary, way, value, came))
        print("values changed", changed)
        print("texts", connection.execute("SELECT %b", (["a", 'b,"', None],)).fetchone()[0])
        print("uuid", connection.execute("SELECT %s", (uuid.UUID(int=5),)).fetchone()[0])
        one = connection.execute("SELECT id, country FROM demo.figures WHERE id = %s AND country = %s", (7, "GRC"))
        print("bound", one.fetchone())
        some = connection.execute("SELECT count(*) FROM demo.figures WHERE country = ANY(%s)", (["GRC", "ROU"],))
        print("any", some.fetchone()[0])
        prepared = "SELECT %s::bigint + id FROM demo.figures WHERE id = %s"
        print("prepared", [connection.execute(prepared, (n, n), prepare=True).fetchone()[0] for n in range(8)])


def copies_are_whole():
    with psycopg.connect(**OPTIONS) as connection:
        sql = "COPY (SELECT id, note FROM demo.figures WHERE id < 3 ORDER BY id) TO STDOUT WITH (FORMAT csv, HEADER)"
        with connection.cursor().copy(sql) as copy:
            print("copy", b"".join(bytes(part) for part in copy))
        with connection.cursor().copy("COPY (SELECT id, value FROM demo.figures) TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["int8", "float8"])
            print("binary", sum(row[0] for row in copy.rows()))
        with connection.cursor().copy("COPY (SELECT id FROM demo.figures WHERE false) TO STDOUT (FORMAT binary)") as copy:
            print("binary of nothing", b"".join(bytes(part) for part in copy))


def rows_come_in_parts():
    with psycopg.connect(**OPTIONS) as connection:
        with connection.cursor(name="part by part") as cursor:
            cursor.itersize = 100
            cursor.execute(MANY + " WHERE v > %s", (10,))
            print("cursor", sum(row[0] for row in cursor))
        with connection.cursor(name="as bytes", binary=True) as cursor:
            cursor.execute(MANY)
            print("cursor in binary", cursor.fetchmany(3), len(cursor.fetchall()))
        print("streamed", sum(row[0] for row in connection.cursor().stream(MANY)))
    with psycopg.connect(**OPTIONS, autocommit=True) as connection:
        with connection.pipeline():
            cursors = [connection.execute("SELECT %s + 1", (n,)) for n in range(200)]
        print("pipeline", sum(cursor.fetchone()[0] for cursor in cursors))
        try:
            with connection.pipeline():
                connection.execute("SELECT 1")
                connection.execute("SELECT nothing")
                connection.execute("SELECT 2")
        except psycopg.errors.UndefinedColumn:
            print("pipeline failed", connection.execute("SELECT 3").fetchone()[0])


def transactions_read_only():
    with psycopg.connect(**OPTIONS) as connection:
        with connection.transaction():
            connection.execute("SELECT 1")
            try:
                with connection.transaction():
                    connection.execute("SELECT nothing")
            except psycopg.Error as error:
                print("inner", error.sqlstate)
            print("outer", connection.execute("SELECT 2").fetchone()[0])
        try:
            connection.execute("SELECT nothing")
        except psycopg.Error:
            pass
        try:
            connection.execute("SELECT 1")
        except psycopg.Error as error:
            print("failed", error.sqlstate)
        connection.rollback()
        connection.read_only = True
        print("read only", connection.execute("SELECT 4").fetchone()[0])


def errors_are_told_apart():
    for sql in ("SELECT nothing FROM demo.figures", "SELECT * FROM demo.nothing", "SELEC 1",
                "INSERT INTO demo.figures VALUES (1)", "DROP TABLE demo.figures", "COPY demo.figures FROM STDIN",
                "SELECT 1/(id - id) FROM demo.figures", "SET ROLE x", "COPY demo.figures TO '/tmp/x'", "SET nothing = 1",
                "EXECUTE x", "FETCH 1 FROM x", "SELECT pg_read_file('/etc/passwd')"):
        with psycopg.connect(**OPTIONS) as connection:
            try:
                connection.execute(sql).fetchall()
                print("no error", sql)
            except psycopg.Error as error:
                print("error", error.sqlstate, error.diag.statement_position, sql)
    with psycopg.connect(**OPTIONS, autocommit=True) as connection:
        threading.Timer(1, connection.cancel_safe).start()
        since = time.monotonic()
        try:
            connection.execute(ENDLESS)
        except psycopg.errors.QueryCanceled:
            print("cancelled", time.monotonic() - since < 5)
        print("after", connection.execute("SELECT 1").fetchone()[0])
        connection.execute("SET statement_timeout = '1s'")
        since = time.monotonic()
        try:
            connection.execute(ENDLESS)
        except psycopg.errors.QueryCanceled:
            print("timed out", time.monotonic() - since < 5)


def the_catalogue_is_reflected():
    url = sqlalchemy.URL.create("postgresql+psycopg", "tests/all", PASSWORD, HOST, int(PORT), "hambar")
    engine = create_engine(url, connect_args={"sslmode": "disable"})
    with engine.connect() as connection:
        newest = text("SELECT max(id) FROM demo.figures WHERE year > :year")
        print("alchemy", connection.execute(newest, {"year": 2001}).scalar())
        parts = connection.execution_options(stream_results=True).execute(text(MANY))
        print("alchemy in parts", sum(len(part) for part in parts.partitions(100)))
    there = inspect(engine)
    print("schemas", sorted(there.get_schema_names()))
    print("tables", there.get_table_names(schema="demo"), there.get_view_names(schema="demo"))
    print("has", there.has_table("figures", schema="demo"), there.has_table("nothing", schema="demo"))
    columns = there.get_columns("figures", schema="demo")
    print("columns", [(column["name"], str(column["type"])) for column in columns][:5])
    print("keys", there.get_pk_constraint("figures", schema="demo")["constrained_columns"],
          there.get_foreign_keys("figures", schema="demo"), there.get_indexes("figures", schema="demo"),
          there.get_unique_constraints("figures", schema="demo"), there.get_check_constraints("figures", schema="demo"))
    print("rest", there.get_table_comment("figures", schema="demo"), there.get_sequence_names(schema="demo"),
          there.get_enums(schema="demo"), there.get_domains(schema="demo"),
          there.get_table_options("figures", schema="demo"))
    figures = Table("figures", MetaData(), schema="demo", autoload_with=engine)
    counts = select(figures.c.country, func.count()).where(figures.c.id < 7).group_by(figures.c.country)
    with engine.connect() as connection:
        print("reflected", [tuple(row) for row in connection.execute(counts.order_by(figures.c.country))])


types_come_as_they_are()
values_go_as_they_are()
copies_are_whole()
rows_come_in_parts()
transactions_read_only()
errors_are_told_apart()
the_catalogue_is_reflected()
