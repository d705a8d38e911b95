"""What a server says about its tables, and a search over it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .errors import UnexpectedAnswerError


@dataclass(frozen=True)
class Source:
    """A table that an answer is made from, and whom to name for it."""

    table: str
    version: int
    citation: str | None = None
    licence: str | None = None
    landing_page: str | None = None


@dataclass(frozen=True)
class Table:
    """A table and what is declared about it."""

    name: str
    title: str | None = None
    description: str | None = None
    provider: str | None = None
    citation: str | None = None
    landing_page: str | None = None
    licence: str | None = None
    key: tuple[str, ...] = ()
    may_be_passed_on: bool = False


@dataclass(frozen=True)
class Column:
    """A column; `type` is Arrow's name for it."""

    name: str
    type: str
    unit: str | None = None
    description: str | None = None
    source_name: str | None = None


@dataclass(frozen=True)
class Description:
    """A table with its columns and its newest version."""

    table: Table
    columns: tuple[Column, ...]
    version: int | None


def table_of(entry: Any) -> Table:
    """Take a table as the server lists it. Fields that are not known here are left out."""
    fields = _object(entry)
    key = fields.get("key")
    return Table(
        name=_required(fields, "table"),
        title=_text(fields, "title"),
        description=_text(fields, "description"),
        provider=_text(fields, "provider"),
        citation=_text(fields, "citation"),
        landing_page=_text(fields, "landing_page"),
        licence=_text(fields, "licence"),
        key=tuple(str(name) for name in key) if isinstance(key, list) else (),
        may_be_passed_on=fields.get("may_be_passed_on") is True,
    )


def description_of(entry: Any) -> Description:
    """Take the description of one table."""
    fields = _object(entry)
    columns = fields.get("columns")
    if not isinstance(columns, list):
        raise UnexpectedAnswerError("the description of a table has no columns")
    version = fields.get("version")
    return Description(
        table=table_of(fields),
        columns=tuple(_column(_object(column)) for column in columns),
        version=version if isinstance(version, int) else None,
    )


def _column(fields: dict[str, Any]) -> Column:
    return Column(
        name=_required(fields, "name"),
        type=_required(fields, "type"),
        unit=_text(fields, "unit"),
        description=_text(fields, "description"),
        source_name=_text(fields, "source_name"),
    )


def source_of(entry: Any) -> Source:
    """Take a source as answers name it: an object, or where there are many, `table@version`."""
    if isinstance(entry, str):
        table, _, number = entry.rpartition("@")
        if not table or not (number.isascii() and number.isdigit()):
            raise UnexpectedAnswerError(f"`{entry[:100]}` is no table with a version")
        return Source(table, int(number))
    fields = _object(entry)
    version = fields.get("version")
    if not isinstance(version, int):
        raise UnexpectedAnswerError("a source has no version")
    return Source(
        table=_required(fields, "table"),
        version=version,
        citation=_text(fields, "citation"),
        licence=_text(fields, "licence"),
        landing_page=_text(fields, "landing_page"),
    )


def search(tables: Iterable[Table], text: str) -> list[Table]:
    """Return the tables in which every word of `text` stands, the better ones first.

    A word may be the beginning of one that stands there. Accents and case do not matter. A word counts most in the title
    and the name.
    """
    words = _words(text)
    if not words:
        raise ValueError("there is no word to look for")
    found = [(score, table) for table in tables if (score := _score(table, words)) is not None]
    found.sort(key=lambda entry: (-entry[0], entry[1].name))
    return [table for _, table in found]


def _score(table: Table, words: list[str]) -> int | None:
    fields = (
        (4, f"{table.name} {table.title or ''}"),
        (2, table.provider or ""),
        (1, f"{table.description or ''} {table.citation or ''} {' '.join(table.key)}"),
    )
    known = [(weight, _words(text)) for weight, text in fields]
    total = 0
    for word in words:
        best = max((weight for weight, texts in known if any(text.startswith(word) for text in texts)), default=0)
        if best == 0:
            return None
        total += best
    return total


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    return [word for word in re.split(r"[\W_]+", plain.casefold()) if word]


def _object(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise UnexpectedAnswerError("the server described something by other than an object")
    return entry


def _text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) else None


def _required(fields: dict[str, Any], name: str) -> str:
    value = _text(fields, name)
    if value is None:
        raise UnexpectedAnswerError(f"the server left out `{name}`")
    return value
