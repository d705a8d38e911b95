"""The package against a real server: questions, tables, time travel, sources, limits, errors."""

from __future__ import annotations

import datetime
import json
import subprocess

import polars
import pyarrow as pa
import pytest
from conftest import ROWS_MAX, Served

import hambar

MILLIONS = "SELECT a.year, b.country FROM demo.electricity a CROSS JOIN demo.electricity b CROSS JOIN demo.electricity c"


def test_sql_gives_the_same_rows_in_every_form(client: hambar.Client) -> None:
    result = client.sql(
        "SELECT country, year, kwh_per_head FROM demo.electricity WHERE country = $1 AND year >= $2 ORDER BY year",
        ["Bulgaria", 2015],
    )
    table = result.arrow()
    assert table.column_names == ["country", "year", "kwh_per_head"]
    assert table.num_rows > 3
    assert set(table["country"].to_pylist()) == {"Bulgaria"}
    assert result.rows() == table.to_pylist()
    frame = result.pandas()
    assert frame["year"].tolist() == table["year"].to_pylist()
    assert result.polars().equals(polars.DataFrame(table.to_pylist(), schema=result.polars().schema))
    assert result.query_id


def test_parameters_are_values_and_nothing_else(client: hambar.Client) -> None:
    sly = "'; DROP TABLE demo.electricity --"
    moment = datetime.date(2024, 2, 29)
    row = client.sql("SELECT $1 AS a, $2 AS b, $3 AS c, $4 AS d, CAST($5 AS DATE) AS e", [sly, 7, 1.5, None, moment]).rows()
    assert row == [{"a": sly, "b": 7, "c": 1.5, "d": None, "e": moment}]


def test_an_answer_names_its_sources(client: hambar.Client) -> None:
    result = client.sql("SELECT count(*) AS n FROM demo.electricity e JOIN demo.gdp_per_head g ON e.country = g.country")
    named = {source.table: source for source in result.sources}
    assert set(named) == {"demo.electricity", "demo.gdp_per_head"}
    source = named["demo.electricity"]
    assert source.licence == "CC-BY-4.0"
    assert source.version == client.describe("demo.electricity").version
    assert "Our World in Data" in (source.citation or "")
    assert "Our World in Data" in result.attribution
    assert "CC-BY-4.0" in result.attribution
    result.close()


def test_citations_name_table_version_and_query(client: hambar.Client) -> None:
    result = client.table("demo.electricity", limit=1)
    version = result.sources[0].version
    text = result.cite()
    assert f"Table demo.electricity, version {version}." in text
    assert "query SHA-256 " in text
    assert client.url in text
    assert f"@misc{{demo_electricity_v{version}," in result.cite("bibtex")
    entries = json.loads(result.cite("csl-json"))
    assert [entry["id"] for entry in entries] == [f"demo.electricity@{version}"]
    with pytest.raises(ValueError, match="nothing to cite"):
        client.sql("SELECT 1").cite()


def test_tables_are_listed_found_and_described(client: hambar.Client) -> None:
    names = [table.name for table in client.tables()]
    assert "demo.electricity" in names
    assert client.search("ELECTRIC mix")[0].name == "demo.electricity"
    assert client.search("electricity nowhere-to-be-found") == []
    described = client.describe("demo.electricity")
    units = {column.name: column.unit for column in described.columns}
    assert units["kwh_per_head"] == "kWh per person"
    assert described.table.key == ("country", "year")


def test_a_table_without_sql(client: hambar.Client) -> None:
    where = {"country": ["Bulgaria", "Greece"], "year": (">=", 2018), "kwh_per_head": ("<>", None)}
    result = client.table("demo.electricity", columns=["country", "year"], where=where, order_by=["-year", "country"])
    rows = result.rows()
    assert rows == sorted(rows, key=lambda row: (-row["year"], row["country"]))
    assert {row["country"] for row in rows} == {"Bulgaria", "Greece"}
    assert client.table("demo.electricity", where={"country": []}).arrow().num_rows == 0
    assert client.table("demo.electricity", where={"country": None}).arrow().num_rows == 0


def test_pages_walk_over_a_whole_table(client: hambar.Client) -> None:
    whole = client.table("demo.electricity", columns=["country", "year"], order_by=["country", "year"]).arrow()
    pages = [page.arrow() for page in client.pages("demo.electricity", columns=["country", "year"], rows=50)]
    assert [page.num_rows for page in pages[:-1]] == [50] * (len(pages) - 1)
    assert len(pages) > 2
    assert pa.concat_tables(pages).to_pylist() == whole.to_pylist()
    some = [page.arrow() for page in client.pages("demo.electricity", where={"country": "Bulgaria"})]
    assert {row["country"] for row in pa.concat_tables(some).to_pylist()} == {"Bulgaria"}


def test_the_past_is_as_it_was_known(client: hambar.Client, served: Served) -> None:
    first = client.table("demo.electricity", version=1).arrow()
    newest = client.table("demo.electricity").arrow()
    assert first.num_rows != newest.num_rows
    revised = client.revisions("demo.electricity", where={"country": "Bulgaria"}).rows()
    assert revised
    replaced = client.history("demo.electricity").arrow()
    assert set(replaced["_change"].to_pylist()) == {"revised", "withdrawn"}
    # Between the two releases: after the first rows were recorded, before the second ones replaced some of them.
    recorded, superseded = max(replaced["_recorded_at"].to_pylist()), min(replaced["_superseded_at"].to_pylist())
    then = recorded + (superseded - recorded) / 2
    for known in (
        client.table("demo.electricity", as_of=then).arrow(),
        client.sql("SELECT * FROM demo.electricity FOR SYSTEM_TIME AS OF :as_of", as_of=then).arrow(),
        pa.concat_tables([page.arrow() for page in client.pages("demo.electricity", as_of=then)]),
    ):
        assert known.num_rows == first.num_rows
        chosen = ["country", "year", "kwh_per_head"]
        assert sorted(map(str, known.select(chosen).to_pylist())) == sorted(map(str, first.select(chosen).to_pylist()))


def test_rows_come_in_pieces_and_once(client: hambar.Client) -> None:
    result = client.sql(f"{MILLIONS} LIMIT 40000")
    pieces = [batch.num_rows for batch in result.batches()]
    assert sum(pieces) == 40_000
    assert len(pieces) > 1
    with pytest.raises(RuntimeError, match="taken already"):
        next(result.batches())


def test_memory_stays_small_where_pieces_are_let_go(client: hambar.Client) -> None:
    before = pa.total_allocated_bytes()
    highest = 0
    for batch in client.sql(f"SELECT repeat(country, 20) AS text FROM ({MILLIONS} LIMIT 50000)").batches():
        del batch
        highest = max(highest, pa.total_allocated_bytes() - before)
    assert highest < 8 * 1024 * 1024


def test_what_the_server_cuts_off_is_never_silent(served: Served) -> None:
    small = f"SELECT country FROM ({MILLIONS}) LIMIT {ROWS_MAX + 1}"
    with served.connect() as client:
        # Small enough to be sent whole, so that it says itself that it was cut off.
        with pytest.raises(hambar.TruncatedError, match="limit"):
            client.sql(
                "SELECT a.year % 2 = 0 AS x FROM demo.electricity a CROSS JOIN demo.electricity b CROSS JOIN demo.electricity c"
            )
        with pytest.raises((hambar.BrokenOffError, hambar.TruncatedError)):
            client.sql(small).arrow()
        with pytest.raises(hambar.BrokenOffError, match="broke off after") as broken:
            client.sql(f"SELECT repeat(country, 20) AS text FROM ({MILLIONS})").arrow()
        assert 0 <= broken.value.rows <= ROWS_MAX
        # A limit above the server's is not one that the client set himself.
        with pytest.raises((hambar.BrokenOffError, hambar.TruncatedError)):
            client.sql(MILLIONS, limit=ROWS_MAX * 2).arrow()
    with served.connect(on_truncated="warn") as client:
        with pytest.warns(hambar.TruncatedWarning, match="limit"):
            rows = client.sql(
                "SELECT a.year % 2 = 0 AS x FROM demo.electricity a CROSS JOIN demo.electricity b CROSS JOIN demo.electricity c"
            )
        assert rows.arrow().num_rows == ROWS_MAX


def test_a_limit_of_ones_own_is_no_error(client: hambar.Client) -> None:
    result = client.sql(MILLIONS, limit=10)
    assert result.arrow().num_rows == 10
    assert result.reached_limit
    whole = client.sql("SELECT 1 AS one", limit=10)
    assert whole.arrow().num_rows == 1
    assert not whole.reached_limit


def test_an_answer_that_is_left_stops_its_query(client: hambar.Client, served: Served) -> None:
    with client.sql(f"SELECT repeat(country, 20) AS text FROM ({MILLIONS})") as result:
        assert next(result.batches()).num_rows > 0
    # The worker is free again: more questions than one may have at once are answered.
    for _ in range(5):
        assert client.sql("SELECT 1 AS one").rows() == [{"one": 1}]
    client.close()


def test_problems_are_errors_of_their_class(client: hambar.Client, served: Served) -> None:
    with pytest.raises(hambar.QueryError, match="column `nothing` does not exist") as wrong:
        client.sql("SELECT nothing FROM demo.electricity")
    assert wrong.value.position == (1, 8)
    assert wrong.value.hint is not None
    assert wrong.value.status == 400
    with pytest.raises(hambar.NotFoundError):
        client.describe("demo.nothing")
    with pytest.raises(hambar.LimitError):
        client.sql(f"SELECT count(*) FROM ({MILLIONS}) JOIN demo.electricity d ON d.year > 0", seconds=0.2).arrow()
    with pytest.raises(hambar.DeniedError, match="`DROP` is not allowed"):
        client.sql("DROP TABLE demo.electricity")
    with hambar.connect(served.url, "hbr_wrong") as stranger, pytest.raises(hambar.DeniedError) as denied:
        stranger.tables()
    assert denied.value.status == 401
    with hambar.connect(served.url, served.elsewhere) as other:
        assert other.tables() == []
        with pytest.raises(hambar.QueryError):
            other.sql("SELECT * FROM demo.electricity")


def test_answers_are_compressed_where_that_is_wanted(served: Served) -> None:
    with served.connect(compress=True) as client:
        assert client.sql(f"{MILLIONS} LIMIT 20000").arrow().num_rows == 20_000


def test_a_query_is_stopped_by_its_id(client: hambar.Client) -> None:
    with client.sql(f"SELECT repeat(country, 20) AS text FROM ({MILLIONS})") as result:
        assert result.query_id is not None
        client.cancel(result.query_id)
        with pytest.raises(hambar.BrokenOffError):
            result.arrow()
    with pytest.raises(hambar.NotFoundError):
        client.cancel("00000000-0000-4000-8000-000000000000")


def test_the_token_is_in_no_log_of_the_server(client: hambar.Client, served: Served) -> None:
    client.tables()
    assert served.token not in (served.folder / "log").read_text()
    found = subprocess.run(["grep", "-rl", served.token, str(served.folder)], capture_output=True, text=True, check=False)  # noqa: S607
    assert found.stdout == ""
