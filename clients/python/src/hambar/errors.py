"""What can go wrong, as classes. Whatever a server answers as a problem (RFC 9457) becomes one of them by its class."""

from __future__ import annotations

import json
from typing import Any


class HambarError(Exception):
    """Everything that this package raises on its own account, besides wrong arguments (`ValueError`, `TypeError`)."""


class UnreachableError(HambarError):
    """The server did not answer: no connection, no certificate that is trusted, or nothing within the time limit."""


class BrokenOffError(HambarError):
    """An answer ended before its end. What came of it is not the whole and should not be used as if it were."""

    def __init__(self, message: str, rows: int) -> None:
        """Make one that says how many rows had come."""
        super().__init__(message)
        self.rows = rows


class TruncatedError(HambarError):
    """A limit of the server cut rows off. Ask for less, or set `limit=` yourself."""

    def __init__(self, message: str, rows: int | None = None) -> None:
        """Make one that says how many rows there were, where that is known."""
        super().__init__(message)
        self.rows = rows


class TruncatedWarning(UserWarning):
    """The same as `TruncatedError`, for those who chose `on_truncated="warn"`."""


class UnexpectedAnswerError(HambarError):
    """The server answered something that is neither rows nor a problem: perhaps it is no Hambar, or a proxy spoke."""


class ProblemError(HambarError):
    """A problem that the server described."""

    def __init__(self, status: int | None, problem: dict[str, Any]) -> None:
        """Take the fields of the problem; `status` is that of HTTP."""
        self.status = status
        self.kind: str = _text(problem.get("class")) or ""
        self.title: str = _text(problem.get("title")) or ""
        self.detail: str = _text(problem.get("detail")) or self.title or "the server does not say what went wrong"
        self.hint: str | None = _text(problem.get("hint"))
        self.position: tuple[int, int] | None = _position(problem.get("position"))
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        place = f" (line {self.position[0]}, column {self.position[1]})" if self.position else ""
        hint = f"\nhint: {self.hint}" if self.hint else ""
        return f"{self.detail}{place}{hint}"


class QueryError(ProblemError):
    """The request cannot be answered as it is written."""


class NotFoundError(QueryError):
    """There is no such table, or it is not for you."""


class DeniedError(ProblemError):
    """The token is missing, wrong, expired, or does not reach that far."""


class LimitError(ProblemError):
    """A limit was reached: time, memory, bytes. The text names it."""


class QuotaError(ProblemError):
    """Too many requests, also after waiting as the server asked."""


class CancelledError(ProblemError):
    """The query was stopped."""


class StoreError(ProblemError):
    """The server cannot read its store."""


class TransientError(ProblemError):
    """Not now; later perhaps."""


class ServerError(ProblemError):
    """A defect of the server, or a class that this version of the client does not know."""


_CLASSES: dict[str, type[ProblemError]] = {
    "query": QueryError,
    "denied": DeniedError,
    "limit": LimitError,
    "quota": QuotaError,
    "cancelled": CancelledError,
    "conflict": CancelledError,
    "store": StoreError,
    "transient": TransientError,
}


def problem_of(status: int, media_type: str, body: bytes) -> HambarError:
    """Return the error that an answer with a status of 400 or more stands for."""
    if not media_type.startswith("application/problem+json"):
        return UnexpectedAnswerError(f"the server answered with status {status} and `{media_type or 'nothing'}`")
    try:
        problem = json.loads(body)
    except ValueError:
        return UnexpectedAnswerError(f"the server answered with status {status} and a problem that is no JSON")
    if not isinstance(problem, dict):
        return UnexpectedAnswerError(f"the server answered with status {status} and a problem that is no object")
    if status == 404:
        return NotFoundError(status, problem)
    return _CLASSES.get(_text(problem.get("class")) or "", ServerError)(status, problem)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _position(value: object) -> tuple[int, int] | None:
    if not isinstance(value, dict):
        return None
    line, column = value.get("line"), value.get("column")
    return (line, column) if isinstance(line, int) and isinstance(column, int) else None
