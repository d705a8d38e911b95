"""Questions over Arrow Flight SQL with ADBC, for servers that offer it. Lists and descriptions still come by HTTP."""

from __future__ import annotations

import contextlib
import datetime
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import pyarrow as pa

from . import errors
from .errors import HambarError, ProblemError
from .transport import is_loopback

_HEADER: Final = "adbc.flight.sql.rpc.call_header."
_TIMES: Final = ("adbc.flight.sql.rpc.timeout_seconds.query", "adbc.flight.sql.rpc.timeout_seconds.fetch")
# The driver writes the code of gRPC into its message.
_CODE: Final = re.compile(r"\[(?:FlightSQL|Flight SQL)\] (.*?) \((\w+);", re.DOTALL)
_CLASSES: Final[dict[str, type[ProblemError]]] = {
    "Unauthenticated": errors.DeniedError,
    "PermissionDenied": errors.DeniedError,
    "InvalidArgument": errors.QueryError,
    "Unimplemented": errors.QueryError,
    "NotFound": errors.NotFoundError,
    "ResourceExhausted": errors.LimitError,
    "DeadlineExceeded": errors.LimitError,
    "Canceled": errors.CancelledError,
    "Cancelled": errors.CancelledError,
    "Aborted": errors.CancelledError,
    "Internal": errors.ServerError,
}


class FlightTransport:
    """Sends questions to one Flight SQL port. Each has a connection of its own, so that threads do not meet."""

    def __init__(self, url: str, token: str | None, *, timeout: float, ca_file: str | None, allow_plaintext: bool) -> None:
        """Check the address, and that ADBC is there."""
        try:
            import adbc_driver_flightsql.dbapi
        except ImportError:
            raise ImportError("ADBC for Flight SQL is not installed: `pip install hambar[flight]`") from None
        parts = urlsplit(url)
        if parts.scheme not in ("grpc", "grpc+tls") or not parts.hostname or parts.username or parts.password or parts.query:
            raise ValueError("the address of Flight SQL is `grpc+tls://host:port` or, on this machine, `grpc://host:port`")
        if token is not None and parts.scheme == "grpc" and not is_loopback(parts.hostname) and not allow_plaintext:
            raise ValueError("a token would be sent in the clear: use `grpc+tls://`")
        self._driver = adbc_driver_flightsql.dbapi
        self._url = url
        self._options = dict.fromkeys(_TIMES, str(timeout))
        if token is not None:
            self._options["adbc.flight.sql.authorization_header"] = f"Bearer {token}"
        if ca_file is not None:
            self._options["adbc.flight.sql.client_option.tls_root_certs"] = pathlib.Path(ca_file).read_text(encoding="ascii")

    def __repr__(self) -> str:
        """Name the port, and nothing of the token."""
        return f"<FlightTransport {self._url}>"

    def ask(self, text: str, params: Sequence[Any], limit: int | None, seconds: float | None) -> FlightAnswer:
        """Send a statement; the rows were not read yet."""
        kept = contextlib.ExitStack()
        try:
            connection = kept.enter_context(self._driver.connect(self._url, db_kwargs=self._options, autocommit=True))
            cursor = kept.enter_context(connection.cursor())
            limits = {"hambar-rows": limit, "hambar-seconds": seconds}
            headers = {_HEADER + name: str(value) for name, value in limits.items() if value is not None}
            if headers:
                cursor.adbc_statement.set_options(**headers)
            cursor.execute(text, parameters=tuple(params) or None)
            return FlightAnswer(cursor.fetch_record_batch(), kept, self._driver.Error)
        except self._driver.Error as error:
            kept.close()
            raise problem_of(str(error)) from None
        except BaseException:
            kept.close()
            raise


class FlightAnswer:
    """Rows over Flight SQL."""

    def __init__(self, reader: Any, kept: contextlib.ExitStack, failure: type[Exception]) -> None:
        """Take a reader and what must be closed after it."""
        self._reader = reader
        self._kept = kept
        self._failure = failure
        self.query_id: str | None = None
        self.answered_at = datetime.datetime.now(datetime.timezone.utc)
        self.is_cut = False
        self.sources = "[]"

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self._reader.schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Return the rows piece by piece."""
        rows = 0
        try:
            for batch in self._reader:
                rows += batch.num_rows
                yield batch
        except (self._failure, pa.ArrowException, OSError) as error:
            cause = problem_of(str(error))
            if isinstance(cause, errors.TruncatedError):
                raise errors.TruncatedError(str(cause), rows) from None
            raise errors.BrokenOffError(f"the answer broke off after {rows} rows: {cause}", rows) from None
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._kept.close()


def problem_of(text: str) -> HambarError:
    """Return the error that the driver's message stands for."""
    found = _CODE.search(text)
    if found is None:
        return errors.UnreachableError(text)
    said, code = found.groups()
    if code == "Unavailable":
        return errors.UnreachableError(said)
    if code == "ResourceExhausted" and "was cut off" in said:
        return errors.TruncatedError(said)
    detail, _, hint = said.partition("\nhint: ")
    problem = {"detail": detail, "class": code} | ({"hint": hint} if hint else {})
    return _CLASSES.get(code, errors.ServerError)(None, problem)
