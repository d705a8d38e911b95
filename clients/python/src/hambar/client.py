"""A connection to a server: questions, tables, search."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from . import catalogue, statements
from .answers import HttpAnswer
from .catalogue import Description, Table
from .errors import UnexpectedAnswerError
from .flight import FlightTransport
from .result import OnTruncated, Result
from .statements import Instant, Value
from .transport import Transport

_ROWS_OF_PAGE_MAX = 10_000
_NEXT = re.compile(r'<([^<>]*)>\s*;\s*rel="?next"?')


class Client:
    """A connection to one server. Threads may share it."""

    def __init__(
        self, transport: Transport, flight: FlightTransport | None = None, *, on_truncated: OnTruncated = "raise"
    ) -> None:
        """Take the ways to a server; `hambar.connect` makes everything."""
        if on_truncated not in ("raise", "warn"):
            raise ValueError("`on_truncated` is `raise` or `warn`")
        self._transport = transport
        self._flight = flight
        self._on_truncated = on_truncated

    @property
    def url(self) -> str:
        """The address of the server."""
        return self._transport.base

    def sql(
        self,
        query: str,
        params: Sequence[Value] = (),
        *,
        as_of: Instant | None = None,
        limit: int | None = None,
        seconds: float | None = None,
    ) -> Result:
        """Ask with SQL.

        `params` are the values of `$1`, `$2` …; they never become part of the text. `as_of` stands wherever the text says
        `:as_of`, as in `FROM ns.t FOR SYSTEM_TIME AS OF :as_of`. `limit` cuts the answer off after so many rows;
        `seconds` limits the time. Where the server cuts rows off of its own accord, that is a `TruncatedError`, or for
        an answer on its way a `BrokenOffError`.
        """
        text = statements.at(query, as_of)
        return self._ask(text, params, limit, seconds)

    def table(
        self,
        name: str,
        *,
        columns: Sequence[str] | None = None,
        where: Mapping[str, Any] | None = None,
        order_by: Sequence[str] | None = None,
        as_of: Instant | None = None,
        version: int | None = None,
        limit: int | None = None,
    ) -> Result:
        """Return the rows of a table without SQL.

        `where` maps columns to a value, a list of values, None, or a pair such as `(">=", 2015)`. A `-` in front of a
        column of `order_by` makes it fall.
        """
        text, values = statements.select(name, columns=columns, where=where, order_by=order_by, as_of=as_of, version=version)
        return self._ask(text, values, limit, None)

    def pages(
        self,
        name: str,
        *,
        columns: Sequence[str] | None = None,
        where: Mapping[str, str | int | float] | None = None,
        as_of: Instant | None = None,
        version: int | None = None,
        rows: int = _ROWS_OF_PAGE_MAX,
    ) -> Iterator[Result]:
        """Return a whole table page by page, however long it is: for tables beyond the rows that one answer may have.

        All pages are of one version. `where` takes values for `=`; use `table` for anything else.
        """
        target: str | None = _page(name, columns, where, as_of, version, rows)
        while target is not None:
            response = self._transport.page(target)
            following = self._next(response.headers.get("Link", ""))
            yield Result(HttpAnswer(response), statement=None, server=self.url)
            target = following

    def history(self, name: str, *, where: Mapping[str, Any] | None = None, limit: int | None = None) -> Result:
        """Return the rows that a newer release replaced or withdrew, with the instants between which they held."""
        return self._over("history", name, where, limit)

    def revisions(self, name: str, *, where: Mapping[str, Any] | None = None, limit: int | None = None) -> Result:
        """Return what changed in a table, cell by cell: key, column, old and new value, when."""
        return self._over("revisions", name, where, limit)

    def tables(self) -> list[Table]:
        """Return the tables that exist for you, with what is declared about them."""
        entries = self._transport.document("tables")
        if not isinstance(entries, list):
            raise UnexpectedAnswerError("the list of tables is no list")
        return [catalogue.table_of(entry) for entry in entries]

    def search(self, text: str) -> list[Table]:
        """Return the tables in whose name, title, provider or description every word of `text` stands, the better first."""
        return catalogue.search(self.tables(), text)

    def describe(self, name: str) -> Description:
        """Return the columns of a table, its newest version and what is declared about it."""
        return catalogue.description_of(self._transport.document("tables", statements.checked_table(name), "schema"))

    def cancel(self, query_id: str) -> None:
        """Stop a query of yours; its id is `query_id` of its result."""
        self._transport.delete("queries", query_id)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Client:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        """Name the server, and nothing of the token."""
        return f"<hambar.Client of {self.url}>"

    def _over(self, function: str, name: str, where: Mapping[str, Any] | None, limit: int | None) -> Result:
        conditions, values = statements.conditions_of(where)
        table = statements.checked_table(name)
        return self._ask(f"SELECT * FROM {function}('{table}'){conditions}", values, limit, None)  # noqa: S608

    def _ask(self, text: str, params: Sequence[Value], limit: int | None, seconds: float | None) -> Result:
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
            raise ValueError("`limit` is a whole number from 1")
        way = self._flight or self._transport
        answer = way.ask(text, statements.bound(params), limit, seconds)
        return Result(answer, statement=text, limit=limit, on_truncated=self._on_truncated, server=self.url)

    def _next(self, link: str) -> str | None:
        found = _NEXT.search(link)
        if found is None:
            return None
        target = urlsplit(urljoin("/", found.group(1)))
        # Another host would be sent the token.
        if target.scheme or target.netloc or not target.path.startswith("/api/tables/"):
            raise UnexpectedAnswerError("the next page is not on this server")
        return f"{target.path}?{target.query}"


def _page(
    name: str,
    columns: Sequence[str] | None,
    where: Mapping[str, str | int | float] | None,
    as_of: Instant | None,
    version: int | None,
    rows: int,
) -> str:
    if not 1 <= rows <= _ROWS_OF_PAGE_MAX:
        raise ValueError(f"a page has 1 to {_ROWS_OF_PAGE_MAX} rows")
    if isinstance(columns, str):
        raise TypeError("`columns` is a list of names")
    if as_of is not None and version is not None:
        raise ValueError("`as_of` and `version` exclude each other")
    options: list[tuple[str, str]] = [("_limit", str(rows))]
    if columns is not None:
        if any("," in column for column in columns):
            raise ValueError("a column with a comma in its name can only be asked for with `table` or `sql`")
        options.append(("_columns", ",".join(columns)))
    if as_of is not None:
        options.append(("_as_of", statements.instant(as_of)))
    if version is not None:
        options.append(("_version", str(version)))
    for column, value in (where or {}).items():
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise TypeError("pages take texts and numbers as conditions; use `table` for anything else")
        options.append((column, f"eq.{value}"))
    return f"/api/tables/{statements.checked_table(name)}?{urlencode(options)}"


def connect(
    url: str,
    token: str | None = None,
    *,
    flight: str | None = None,
    timeout: float = 120.0,
    retry_seconds: float = 30.0,
    compress: bool | None = None,
    on_truncated: OnTruncated = "raise",
    ca_file: str | None = None,
    allow_plaintext: bool = False,
) -> Client:
    """Return a client of the server at `url`. Nothing is sent before the first question.

    `token` begins with `hbr_`; without one, only what is public can be read. `timeout` is how long nothing may come, in
    seconds. Where the server says that it is busy and when to come back (429 and 503 with `Retry-After`), the client
    waits and asks again, for `retry_seconds` altogether; everything else fails at once. Answers are compressed unless the
    server is on this machine (`compress` says otherwise). `ca_file` is the certificate authority of a server with one of
    its own. `flight` is the address of the server's Flight SQL, such as `grpc+tls://data.example.org:32010`: statements then go
    there, by ADBC. `on_truncated="warn"` makes answers that a limit cut off a warning instead of an error.
    """
    if timeout <= 0 or retry_seconds < 0:
        raise ValueError("`timeout` is above 0, and `retry_seconds` not below")
    transport = Transport(
        url,
        token,
        timeout=timeout,
        retry_seconds=retry_seconds,
        compress=compress,
        ca_file=ca_file,
        allow_plaintext=allow_plaintext,
    )
    way = None
    if flight is not None:
        way = FlightTransport(flight, token, timeout=timeout, ca_file=ca_file, allow_plaintext=allow_plaintext)
    return Client(transport, way, on_truncated=on_truncated)
