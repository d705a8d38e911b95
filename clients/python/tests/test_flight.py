"""The same questions over Flight SQL, where the server has it and ADBC is installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import ROWS_MAX, Served

import hambar
from hambar import flight

MILLIONS = "SELECT a.year, b.country FROM demo.electricity a CROSS JOIN demo.electricity b CROSS JOIN demo.electricity c"


@pytest.fixture
def by_flight(served: Served) -> Iterator[hambar.Client]:
    if served.flight is None:
        pytest.skip("this server has no Flight SQL")
    pytest.importorskip("adbc_driver_flightsql", reason="ADBC for Flight SQL is not installed")
    with served.connect(flight=served.flight) as made:
        yield made


def test_answers_are_those_of_http(by_flight: hambar.Client, client: hambar.Client) -> None:
    asked = "SELECT country, year, kwh_per_head FROM demo.electricity WHERE country = $1 AND year > $2 ORDER BY year"
    ours, theirs = by_flight.sql(asked, ["Bulgaria", 2015]), client.sql(asked, ["Bulgaria", 2015])
    assert ours.sources == theirs.sources
    assert ours.rows() == theirs.rows()
    assert "Licence: CC-BY-4.0." in ours.cite()
    assert by_flight.table("demo.electricity", where={"country": ["Bulgaria"]}).arrow().num_rows > 0
    assert by_flight.describe("demo.electricity") == client.describe("demo.electricity")
    assert by_flight.sql("SELECT 1 AS one").rows() == [{"one": 1}]
    assert by_flight.sql("SELECT $1 AS a, $2 AS b, $3 AS c", ["x", None, True]).rows() == [{"a": "x", "b": None, "c": True}]


def test_limits_are_never_silent(by_flight: hambar.Client) -> None:
    with pytest.raises(hambar.TruncatedError) as cut:
        by_flight.sql(MILLIONS).arrow()
    assert cut.value.rows is not None
    assert cut.value.rows <= ROWS_MAX
    limited = by_flight.sql(MILLIONS, limit=10)
    assert limited.arrow().num_rows == 10
    assert limited.reached_limit
    with pytest.raises(hambar.HambarError):
        by_flight.sql(f"SELECT count(*) FROM ({MILLIONS}) JOIN demo.electricity d ON d.year > 0", seconds=0.2).arrow()


def test_problems_are_errors_of_their_class(by_flight: hambar.Client, served: Served) -> None:
    with pytest.raises(hambar.QueryError, match="column `nothing` does not exist"):
        by_flight.sql("SELECT nothing FROM demo.electricity")
    with pytest.raises(hambar.NotFoundError):
        by_flight.sql("SELECT * FROM demo.nothing")
    with pytest.raises(hambar.DeniedError):
        by_flight.sql("DROP TABLE demo.electricity")
    with hambar.connect(served.url, "hbr_wrong", flight=served.flight) as stranger, pytest.raises(hambar.DeniedError) as denied:
        stranger.sql("SELECT 1")
    assert "hbr_wrong" not in str(denied.value)
    with hambar.connect(served.url, served.token, flight="grpc://127.0.0.1:9") as nobody, pytest.raises(hambar.UnreachableError):
        nobody.sql("SELECT 1")


def test_an_answer_that_is_left_stops_its_query(by_flight: hambar.Client) -> None:
    for _ in range(5):
        with by_flight.sql(f"SELECT repeat(country, 20) AS text FROM ({MILLIONS})") as result:
            assert next(result.batches()).num_rows > 0
    assert by_flight.sql("SELECT 1 AS one").rows() == [{"one": 1}]


def test_addresses_that_are_none() -> None:
    pytest.importorskip("adbc_driver_flightsql", reason="ADBC for Flight SQL is not installed")
    for wrong in ("http://127.0.0.1:1", "grpc://user:secret@host:1", "grpc://", "grpc://data.example.org:1"):
        with pytest.raises(ValueError, match="Flight SQL|in the clear"):
            hambar.connect("http://127.0.0.1:1", "hbr_x", flight=wrong)
    made = flight.FlightTransport("grpc://127.0.0.1:1", "hbr_secret", timeout=1, ca_file=None, allow_plaintext=False)
    assert "hbr_secret" not in repr(made)


def test_messages_of_the_driver_become_errors() -> None:
    def of(text: str) -> hambar.HambarError:
        return flight.problem_of(text)

    wrong = of(
        "INVALID_ARGUMENT: [FlightSQL] column `x` (a) is missing (line 1, column 8)\nhint: use `y` (InvalidArgument; Prepare)"
    )
    assert isinstance(wrong, hambar.QueryError)
    assert wrong.detail == "column `x` (a) is missing (line 1, column 8)"
    assert wrong.hint == "use `y`"
    assert isinstance(of("UNAUTHENTICATED: [FlightSQL] no token (Unauthenticated; ExecuteQuery)"), hambar.DeniedError)
    assert isinstance(
        of("UNKNOWN: [FlightSQL] the answer was cut off after 3 rows (ResourceExhausted; DoGet)"), hambar.TruncatedError
    )
    assert isinstance(of("UNKNOWN: [FlightSQL] too much memory (ResourceExhausted; DoGet)"), hambar.LimitError)
    assert isinstance(of("IO: [FlightSQL] connection refused (Unavailable; Prepare)"), hambar.UnreachableError)
    assert isinstance(of("something else"), hambar.UnreachableError)
