"""Answers on their way, whichever protocol they come by: columns, batches, and the end that must not be missed."""

from __future__ import annotations

import datetime
import email.utils
from collections.abc import Iterator
from typing import Any, Final, Protocol

import pyarrow as pa
import urllib3

from .errors import BrokenOffError, UnexpectedAnswerError

# What an Arrow stream ends with.
_END: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"
ROWS_HINT: Final = "ask for less (fewer columns, a condition, an aggregate), or set `limit=`"


class Answer(Protocol):
    """What a question brought, before its rows were read."""

    query_id: str | None
    answered_at: datetime.datetime
    # Whether the server says beforehand that a limit cut rows off.
    is_cut: bool
    # The sources where the columns do not name them, as JSON.
    sources: str

    @property
    def schema(self) -> pa.Schema:
        """The columns."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Return the rows piece by piece; an end that comes too early is an error."""

    def close(self) -> None:
        """Let go of it; a query that still runs is stopped."""


class HttpAnswer:
    """An Arrow stream over HTTP."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        """Open an answer that was not read yet."""
        self.query_id: str | None = response.headers.get("Hambar-Query")
        self.answered_at = _instant(response.headers.get("Date"))
        self.is_cut = response.status == 206 or "Hambar-Truncated" in response.headers
        self.sources: str = response.headers.get("Hambar-Sources", "[]")
        self._body = _Body(response)
        try:
            if not response.headers.get("Content-Type", "").startswith("application/vnd.apache.arrow.stream"):
                raise UnexpectedAnswerError("the server answered with something that is no Arrow stream")
            self._reader = _opened(self._body)
        except BaseException:
            self._body.close()
            raise

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self._reader.schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Return the rows piece by piece."""
        try:
            for batch in self._reader:
                self._body.rows += batch.num_rows
                yield batch
            self._body.end()
        except (pa.ArrowInvalid, OSError) as error:
            raise BrokenOffError(f"the answer cannot be read on: {error}", self._body.rows) from None
        finally:
            self._body.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._body.close()


class _Body:
    """The bytes of an answer as a file for Arrow. Whatever ends it early is an error, also between two batches."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response
        self._failure: BrokenOffError | None = None
        self._tail = b""
        self.closed = False
        self.rows = 0

    def readable(self) -> bool:
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
            why = f"the server or the network ended it; a limit of the server on rows, bytes or time does that: {ROWS_HINT}"
        return BrokenOffError(f"the answer broke off after {self.rows} rows: {why}", self.rows)


def _opened(body: _Body) -> Any:
    try:
        return pa.ipc.open_stream(body)
    except (pa.ArrowInvalid, OSError) as error:
        raise UnexpectedAnswerError(f"the answer is no Arrow stream: {error}") from None


def _instant(date: str | None) -> datetime.datetime:
    """Return the server's time of the answer; ours where it does not say."""
    try:
        return email.utils.parsedate_to_datetime(date or "")
    except ValueError:
        return datetime.datetime.now(datetime.timezone.utc)
