"""Statements made from values, the search, and citations, without any server."""

from __future__ import annotations

import datetime
import decimal

import numpy as np
import pytest

from hambar import Source, Table, catalogue, citing, statements

UTC = datetime.timezone.utc


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        ("2024-01-31", "2024-01-31T00:00:00Z"),
        ("2024-01-31T12:00:00Z", "2024-01-31T12:00:00Z"),
        ("2024-01-31T12:00:00+02:00", "2024-01-31T10:00:00Z"),
        (datetime.date(2024, 1, 31), "2024-01-31T00:00:00Z"),
        (datetime.datetime(2024, 1, 31, 1, 2, 3, 4, UTC), "2024-01-31T01:02:03.000004Z"),
    ],
)
def test_instants(moment: statements.Instant, text: str) -> None:
    assert statements.instant(moment) == text


def test_as_of_stands_where_the_statement_says() -> None:
    said = "SELECT ':as_of', \"x:as_of\", a::as_of FROM t FOR SYSTEM_TIME AS OF :as_of -- :as_of\n/* :as_of */"
    placed = statements.at(said, "2024-01-31")
    assert placed == said.replace("OF :as_of", "OF '2024-01-31T00:00:00Z'")
    assert statements.at("SELECT 1", None) == "SELECT 1"
    for wrong, moment in (("SELECT 1", "2024-01-31"), ("SELECT ':as_of'", "2024-01-31"), ("SELECT :as_of", None)):
        with pytest.raises(ValueError, match="as_of"):
            statements.at(wrong, moment)
    with pytest.raises(ValueError, match="no instant"):
        statements.at("SELECT :as_of", "' OR 1 = 1")


def test_selections() -> None:
    def made(**options: object) -> tuple[str, list[object]]:
        every: dict[str, object] = dict.fromkeys(("columns", "where", "order_by", "as_of", "version"))
        text, values = statements.select("ns.t", **{**every, **options})  # type: ignore[arg-type]
        return text, list(values)

    assert made() == ("SELECT * FROM ns.t", [])
    assert made(columns=['a"b'], version=3) == ('SELECT "a""b" FROM ns.t VERSION AS OF 3', [])
    where = {"a": 1, "b": [2, 3], "c": None, "d": ("<>", None), "e": ("LIKE", "x%"), "f": []}
    assert made(where=where, order_by=["-a", "b"]) == (
        'SELECT * FROM ns.t WHERE "a" = $1 AND "b" IN ($2, $3) AND "c" IS NULL AND "d" IS NOT NULL AND "e" LIKE $4 AND false '
        'ORDER BY "a" DESC, "b" ASC',
        [1, 2, 3, "x%"],
    )
    refused: list[dict[str, object]] = [
        {"where": {"a": ("OR 1=1", 2)}},
        {"where": {"a": [None]}},
        {"columns": []},
        {"as_of": "2024-01-01", "version": 1},
    ]
    for wrong in refused:
        with pytest.raises(ValueError, match="."):
            made(**wrong)
    with pytest.raises(TypeError):
        made(columns="country")


@pytest.mark.parametrize("name", ["t", "a.b.c", "A.b", "a.b; DROP", "a.'b", "", "a.b\n"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a table"):
        statements.checked_table(name)


def test_parameters() -> None:
    values = [np.int64(3), np.float32(0.5), decimal.Decimal("1.10"), datetime.date(2024, 1, 2), True, None, "x"]
    assert statements.bound(values) == [3, 0.5, "1.10", "2024-01-02", True, None, "x"]
    for wrong in ([float("nan")], [object()], "text", [b"x"]):
        with pytest.raises((TypeError, ValueError)):
            statements.bound(wrong)  # type: ignore[arg-type]


def test_search_wants_every_word_and_puts_titles_first() -> None:
    tables = [
        Table("a.one", title="Population", description="Electricity is mentioned"),
        Table("a.two", title="Électricité et électricity prices"),
        Table("a.three", title="Other"),
    ]
    assert [table.name for table in catalogue.search(tables, "electricity")] == ["a.two", "a.one"]
    assert [table.name for table in catalogue.search(tables, "ELECTRICITE")] == ["a.two"]
    assert catalogue.search(tables, "electricity other") == []
    with pytest.raises(ValueError, match="no word"):
        catalogue.search(tables, " - ")


def test_citations_escape_and_keep_all_sources() -> None:
    at = datetime.datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    sources = [Source("a.b", 3, "R&D in 50% {of} Sofia", "CC-BY-4.0", "https://example.org"), Source("a.c", 1)]
    text = citing.cite(sources, at, "text", "SELECT 1", "https://server")
    assert text.splitlines()[0] == "R&D in 50% {of} Sofia. Table a.b, version 3. Licence: CC-BY-4.0. https://example.org"
    assert text.splitlines()[1] == "Table a.c. Table a.c, version 1."
    assert text.splitlines()[2].startswith("Retrieved 2026-01-02 03:04 UTC from https://server; query SHA-256 e004ebd5b553")
    bibtex = citing.cite(sources, at, "bibtex")
    assert r"R\&D in 50\% \{of\} Sofia" in bibtex
    assert bibtex.count("@misc{") == 2
    assert citing.attribution(sources).splitlines()[1] == "Table a.c."
