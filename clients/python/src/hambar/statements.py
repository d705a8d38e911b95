"""Statements made from Python's values. Values are bound by the server; only names that were checked stand in a text."""

from __future__ import annotations

import datetime
import decimal
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

Instant = str | datetime.datetime | datetime.date
"""A moment: a date means its midnight in UTC, and so does a text like `2024-01-31`."""

Value = str | int | float | bool | None | datetime.datetime | datetime.date | decimal.Decimal
"""What a parameter may be."""

_TABLE: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}\.[a-z_][a-z0-9_]{0,126}\Z")
_COMPARISONS: Final = ("=", "<>", "!=", "<", "<=", ">", ">=", "LIKE", "NOT LIKE")
# Texts, quoted names and comments, in which nothing is replaced; then the mark.
_MARK: Final = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/ | (?P<mark>(?<![:\w]):as_of\b)""",
    re.VERBOSE | re.DOTALL,
)


def checked_table(name: str) -> str:
    """Return the name of a table, `namespace.table`, as it may stand in a statement."""
    if not isinstance(name, str) or not _TABLE.match(name):
        raise ValueError(f"`{str(name)[:140]}` is no name of a table: write `namespace.table` in small letters")
    return name


def quoted(name: str) -> str:
    """Return the name of a column as it may stand in a statement."""
    if not isinstance(name, str) or not name:
        raise ValueError("the name of a column is a text that is not empty")
    return '"' + name.replace('"', '""') + '"'


def instant(moment: Instant) -> str:
    """Return a moment as servers read it, in UTC."""
    if isinstance(moment, str):
        written = moment
        try:
            moment = datetime.datetime.fromisoformat(re.sub(r"[zZ]\Z", "+00:00", written.strip()))
        except ValueError:
            raise ValueError(f"`{written[:60]}` is no instant: write `2024-01-31` or `2024-01-31T12:00:00Z`") from None
    elif not isinstance(moment, datetime.datetime):
        if not isinstance(moment, datetime.date):
            raise TypeError("an instant is a text, a date or a datetime")
        moment = datetime.datetime(moment.year, moment.month, moment.day)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return moment.astimezone(datetime.timezone.utc).isoformat().replace("+00:00", "Z")


def at(statement: str, moment: Instant | None) -> str:
    """Put `moment` where the statement says `:as_of`.

    A statement is never rewritten in any other way: which of its tables should be read in the past is for its author
    to say.
    """
    literal = None if moment is None else f"'{instant(moment)}'"
    count = 0

    def put(match: re.Match[str]) -> str:
        nonlocal count
        if match.group("mark") is None:
            return match.group(0)
        count += 1
        return literal or match.group(0)

    placed = _MARK.sub(put, statement)
    if count > 0 and literal is None:
        raise ValueError("the statement says `:as_of`, and no `as_of=` was given")
    if count == 0 and literal is not None:
        raise ValueError(
            "`as_of=` needs a place in the statement: write `FROM ns.t FOR SYSTEM_TIME AS OF :as_of` for each table "
            "that should be read as it was known then"
        )
    return placed


def bound(values: Sequence[Value]) -> list[str | int | float | bool | None]:
    """Return parameters as they are sent."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise TypeError("parameters are a list: the first is `$1`")
    return [_sent(value, place) for place, value in enumerate(values, start=1)]


def _sent(value: Any, place: int) -> str | int | float | bool | None:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, datetime.datetime):
        return instant(value) if value.tzinfo else value.isoformat()
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    # Numbers of numpy and the like say what they are worth.
    plain = value.item() if hasattr(value, "item") and not isinstance(value, (int, float)) else value
    if isinstance(plain, float) and not math.isfinite(plain):
        raise ValueError(f"parameter ${place} is {plain}, which cannot be sent")
    if isinstance(plain, (bool, int, float, str)):
        return plain
    raise TypeError(f"parameter ${place} is a {type(value).__name__}: texts, numbers, dates, True, False and None can be sent")


def select(
    table: str,
    *,
    columns: Sequence[str] | None,
    where: Mapping[str, Any] | None,
    order_by: Sequence[str] | None,
    as_of: Instant | None,
    version: int | None,
) -> tuple[str, list[Value]]:
    """Return a statement over one table, and the values of its parameters."""
    if as_of is not None and version is not None:
        raise ValueError("`as_of` and `version` exclude each other")
    if isinstance(columns, str) or isinstance(order_by, str):
        raise TypeError("`columns` and `order_by` are lists of names")
    chosen = "*" if columns is None else ", ".join(quoted(name) for name in columns)
    if not chosen:
        raise ValueError("`columns` is empty")
    text = f"SELECT {chosen} FROM {checked_table(table)}"  # noqa: S608 (names are checked, values are bound)
    if as_of is not None:
        text += f" FOR SYSTEM_TIME AS OF '{instant(as_of)}'"
    if version is not None:
        text += f" VERSION AS OF {_version(version)}"
    conditions, values = conditions_of(where)
    text += conditions
    if order_by:
        text += " ORDER BY " + ", ".join(_ordered(name) for name in order_by)
    return text, values


def conditions_of(where: Mapping[str, Any] | None) -> tuple[str, list[Value]]:
    """Return ` WHERE …` and the values of its parameters."""
    values: list[Value] = []
    conditions = [_condition(column, wanted, values) for column, wanted in (where or {}).items()]
    return (" WHERE " + " AND ".join(conditions) if conditions else "", values)


def _condition(column: str, wanted: Any, values: list[Value]) -> str:
    name = quoted(column)
    if wanted is None:
        return f"{name} IS NULL"
    if isinstance(wanted, tuple):
        if len(wanted) != 2 or wanted[0] not in _COMPARISONS:
            known = ", ".join(_COMPARISONS)
            raise ValueError(f"the condition on `{column}` is no comparison: write `('>=', 2015)` with one of {known}")
        comparison, value = wanted
        if value is None:
            if comparison in ("<>", "!="):
                return f"{name} IS NOT NULL"
            raise ValueError(f"`{column}` cannot be compared with None by `{comparison}`")
        values.append(value)
        return f"{name} {comparison} ${len(values)}"
    if isinstance(wanted, (list, set, frozenset)):
        if not wanted:
            return "false"
        places = []
        for value in wanted:
            if value is None:
                raise ValueError(f"the list for `{column}` has None in it, which equals nothing in SQL")
            values.append(value)
            places.append(f"${len(values)}")
        return f"{name} IN ({', '.join(places)})"
    values.append(wanted)
    return f"{name} = ${len(values)}"


def _ordered(name: str) -> str:
    falls = name.startswith("-")
    return quoted(name[1:] if falls else name) + (" DESC" if falls else " ASC")


def _version(version: int) -> int:
    if isinstance(version, bool) or not isinstance(version, int) or version < 0:
        raise ValueError("a version is a whole number from 0")
    return version
