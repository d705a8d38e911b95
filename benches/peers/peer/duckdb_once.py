"""One query in a whole process of Python with DuckDB."""

import sys

import duckdb

con = duckdb.connect()
con.execute("SET threads = 2")
print(con.sql(sys.argv[1]).fetchall())
