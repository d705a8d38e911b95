"""An answer: rows as they come, or all of them in the form that one likes, and what they are made from."""

from __future__ import annotations

import contextlib
import datetime
import json
import warnings
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from . import citing
from .answers import ROWS_HINT, Answer
from .catalogue import Source, source_of
from .errors import TruncatedError, TruncatedWarning, UnexpectedAnswerError

if TYPE_CHECKING:
    import pandas
    import polars

OnTruncated = Literal["raise", "warn"]
"""What to do where a limit of the server cut rows off."""


class Result:
    """The answer to one question.

    Rows come once: take them with `batches()`, or all at once with `arrow()`, `pandas()` or `polars()`, which may be
    called again and in turn. A result that is not read to its end should be closed; `with` does it.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        statement: str | None,
        limit: int | None = None,
        on_truncated: OnTruncated = "raise",
        server: str = "",
    ) -> None:
        """Take an answer whose rows were not read yet."""
        self._answer = answer
        self._table: pa.Table | None = None
        self._is_taken = False
        self._rows = 0
        self._limit = limit
        self._on_truncated = on_truncated
        self._statement = statement
        self._server = server
        self.query_id: str | None = answer.query_id
        self.answered_at: datetime.datetime = answer.answered_at
        try:
            if answer.is_cut and limit is None:
                self._say_cut(None)
            self.sources: tuple[Source, ...] = _sources(answer)
        except BaseException:
            answer.close()
            raise

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self._answer.schema

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self._answer.schema.names)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Return the rows piece by piece, each as soon as it came. Memory holds one piece at a time."""
        if self._table is not None:
            yield from self._table.to_batches()
            return
        if self._is_taken:
            raise RuntimeError("the rows of this result were taken already: keep them, or ask again")
        self._is_taken = True
        with contextlib.closing(self._answer):
            for batch in self._answer.batches():
                self._rows += batch.num_rows
                yield batch
        if self._answer.is_cut and self._limit is not None and self._rows < self._limit:
            self._say_cut(self._rows)

    def arrow(self) -> pa.Table:
        """Return all rows as an Arrow table."""
        if self._table is None:
            batches = list(self.batches())
            self._table = pa.Table.from_batches(batches, schema=self._answer.schema)
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
        return self._limit is not None and self._rows >= self._limit

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
        self._answer.close()

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
        message = f"a limit of the server cut the answer off{count}: {ROWS_HINT}"
        if self._on_truncated == "raise":
            raise TruncatedError(message, rows)
        warnings.warn(message, TruncatedWarning, stacklevel=3)


def _sources(answer: Answer) -> tuple[Source, ...]:
    """Read the sources from the columns: a header has no room for many."""
    kept = (answer.schema.metadata or {}).get(b"hambar.sources")
    text = kept.decode() if kept is not None else answer.sources
    try:
        entries = json.loads(text)
    except ValueError:
        raise UnexpectedAnswerError("the sources of the answer are no JSON") from None
    if not isinstance(entries, list):
        raise UnexpectedAnswerError("the sources of the answer are no list")
    return tuple(source_of(entry) for entry in entries)
