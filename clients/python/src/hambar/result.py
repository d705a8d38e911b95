"""An answer: rows as they come, or all of them in the form that one likes, and what they are made from."""

from __future__ import annotations

import datetime
import email.utils
import json
import warnings
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import urllib3

from . import citing
from .catalogue import Source, source_of
from .errors import BrokenOffError, TruncatedError, TruncatedWarning, UnexpectedAnswerError

if TYPE_CHECKING:
    import pandas
    import polars

OnTruncated = Literal["raise", "warn"]
"""What to do where a limit of the server cut rows off."""

# What an Arrow stream ends with.
_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_ROWS_HINT = "ask for less (fewer columns, a condition, an aggregate), or set `limit=`"


class Body:
    """The bytes of an answer as a file for Arrow. Whatever ends it early is an error, also between two batches."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        """Wrap an answer that was not read yet."""
        self._response = response
        self._failure: BrokenOffError | None = None
        self._tail = b""
        self.closed = False
        self.rows = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes; fewer only at the end."""
        if self._failure is not None:
            raise self._failure
        try:
            piece = self._response.read(None if size < 0 else size)
            self._tail = (self._tail + piece[-len(_END) :])[-len(_END) :]
            return piece
        except (urllib3.exceptions.HTTPError, OSError) as error:
            self._failure = self._broken(error)
            raise self._failure from None

    def end(self) -> None:
        """Make sure that the answer ends where its rows do."""
        is_whole = self._tail == _END
        if self.read(1):
            raise UnexpectedAnswerError("the answer goes on after its last row")
        if not is_whole:
            # Arrow takes a file that stops between two batches for one that ended.
            raise BrokenOffError(f"the answer has no end after {self.rows} rows", self.rows)
        self.close()

    def close(self) -> None:
        """Let go of the connection; what was not read makes the server stop the query."""
        if not self.closed:
            self.closed = True
            self._response.close()
            self._response.release_conn()

    def _broken(self, error: Exception) -> BrokenOffError:
        self.close()
        if isinstance(error, (urllib3.exceptions.ReadTimeoutError, TimeoutError)):
            why = "nothing came within the time limit (`timeout=`)"
        else:
            why = f"the server or the network ended it; a limit of the server on rows, bytes or time does that: {_ROWS_HINT}"
        return BrokenOffError(f"the answer broke off after {self.rows} rows: {why}", self.rows)


class Result:
    """The answer to one question.

    Rows come once: take them with `batches()`, or all at once with `arrow()`, `pandas()` or `polars()`, which may be
    called again and in turn. A result that is not read to its end should be closed; `with` does it.
    """

    def __init__(
        self,
        response: urllib3.BaseHTTPResponse,
        *,
        statement: str | None,
        limit: int | None = None,
        on_truncated: OnTruncated = "raise",
        server: str = "",
    ) -> None:
        """Open an answer that is an Arrow stream."""
        self._body = Body(response)
        self._table: pa.Table | None = None
        self._is_taken = False
        self._limit = limit
        self._on_truncated = on_truncated
        self._is_cut = response.status == 206 or "Hambar-Truncated" in response.headers
        self._statement = statement
        self._server = server
        self.query_id: str | None = response.headers.get("Hambar-Query")
        self.answered_at: datetime.datetime = _instant(response.headers.get("Date"))
        try:
            if not response.headers.get("Content-Type", "").startswith("application/vnd.apache.arrow.stream"):
                raise UnexpectedAnswerError("the server answered with something that is no Arrow stream")
            if self._is_cut and limit is None:
                self._say_cut(None)
            self._reader = self._opened()
            self.sources: tuple[Source, ...] = _sources(self._reader.schema, response)
        except BaseException:
            self._body.close()
            raise

    def _opened(self) -> Any:
        try:
            return pa.ipc.open_stream(self._body)
        except (pa.ArrowInvalid, OSError) as error:
            raise UnexpectedAnswerError(f"the answer is no Arrow stream: {error}") from None

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self._reader.schema

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self._reader.schema.names)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Return the rows piece by piece, each as soon as it came. Memory holds one piece at a time."""
        if self._table is not None:
            yield from self._table.to_batches()
            return
        if self._is_taken:
            raise RuntimeError("the rows of this result were taken already: keep them, or ask again")
        self._is_taken = True
        try:
            for batch in self._reader:
                self._body.rows += batch.num_rows
                yield batch
            self._body.end()
        except (pa.ArrowInvalid, OSError) as error:
            raise BrokenOffError(f"the answer cannot be read on: {error}", self._body.rows) from None
        finally:
            self._body.close()
        if self._is_cut and self._limit is not None and self._body.rows < self._limit:
            self._say_cut(self._body.rows)

    def arrow(self) -> pa.Table:
        """Return all rows as an Arrow table."""
        if self._table is None:
            batches = list(self.batches())
            self._table = pa.Table.from_batches(batches, schema=self._reader.schema)
        return self._table

    def pandas(self, *, arrow_types: bool = False) -> pandas.DataFrame:
        """Return all rows as a DataFrame of pandas; with `arrow_types`, whole numbers with gaps stay whole numbers."""
        try:
            import pandas
        except ImportError:
            raise ImportError("pandas is not installed: `pip install hambar[pandas]`") from None
        frame: pandas.DataFrame = self.arrow().to_pandas(types_mapper=pandas.ArrowDtype if arrow_types else None)
        return frame

    def polars(self) -> polars.DataFrame:
        """Return all rows as a DataFrame of Polars."""
        try:
            import polars
        except ImportError:
            raise ImportError("Polars is not installed: `pip install hambar[polars]`") from None
        frame = polars.from_arrow(self.arrow())
        if not isinstance(frame, polars.DataFrame):
            raise TypeError("Polars made something else than a table of it")
        return frame

    def rows(self) -> list[dict[str, Any]]:
        """Return all rows as dictionaries."""
        found: list[dict[str, Any]] = self.arrow().to_pylist()
        return found

    @property
    def reached_limit(self) -> bool:
        """Whether as many rows came as `limit=` allows, so that there may be more. Known once the rows were read."""
        return self._limit is not None and self._body.rows >= self._limit

    @property
    def attribution(self) -> str:
        """Whom to name and under which licences, in lines; pass it on with whatever is made of the rows."""
        return citing.attribution(self.sources)

    def cite(self, style: citing.Style = "text") -> str:
        """Return how to cite the tables behind this answer, with the versions that were read.

        `text` is for people, `bibtex` and `csl-json` for programs.
        """
        return citing.cite(self.sources, self.answered_at, style, self._statement, self._server)

    def close(self) -> None:
        """Let go of the answer; a query that still runs is stopped."""
        self._body.close()

    def __enter__(self) -> Result:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        """Name the columns."""
        return f"<hambar.Result of {len(self.columns)} columns: {', '.join(self.columns)[:200]}>"

    def _say_cut(self, rows: int | None) -> None:
        count = "" if rows is None else f" after {rows} rows"
        message = f"a limit of the server cut the answer off{count}: {_ROWS_HINT}"
        if self._on_truncated == "raise":
            raise TruncatedError(message, rows)
        warnings.warn(message, TruncatedWarning, stacklevel=3)


def _sources(schema: Any, response: urllib3.BaseHTTPResponse) -> tuple[Source, ...]:
    """Read the sources from the stream itself: a header has no room for many."""
    kept = (schema.metadata or {}).get(b"hambar.sources")
    text = kept.decode() if kept is not None else response.headers.get("Hambar-Sources", "[]")
    try:
        entries = json.loads(text)
    except ValueError:
        raise UnexpectedAnswerError("the sources of the answer are no JSON") from None
    if not isinstance(entries, list):
        raise UnexpectedAnswerError("the sources of the answer are no list")
    return tuple(source_of(entry) for entry in entries)


def _instant(date: str | None) -> datetime.datetime:
    """Return the server's time of the answer; ours where it does not say."""
    try:
        return email.utils.parsedate_to_datetime(date or "")
    except ValueError:
        return datetime.datetime.now(datetime.timezone.utc)
