"""Citations and attributions made from what a server says about the sources of an answer."""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Sequence
from typing import Literal

from .catalogue import Source

Style = Literal["text", "bibtex", "csl-json"]
"""The form of a citation."""


def attribution(sources: Sequence[Source]) -> str:
    """Return whom to name and under which licences, one line for each table."""
    lines = []
    for source in sources:
        licence = f" Licence: {source.licence}." if source.licence else ""
        page = f" {source.landing_page}" if source.landing_page else ""
        lines.append(f"{_sentence(source)}{licence}{page}")
    return "\n".join(dict.fromkeys(lines))


def cite(sources: Sequence[Source], at: datetime.datetime, style: Style, statement: str | None = None, server: str = "") -> str:
    """Return the citation of every source; where there is none, an error says so."""
    if not sources:
        raise ValueError("the answer was made without any table, so there is nothing to cite")
    if style == "text":
        return _text(sources, at, statement, server)
    if style == "bibtex":
        return "\n\n".join(_bibtex(source, at, server) for source in sources)
    if style == "csl-json":
        return json.dumps([_csl(source, at, server) for source in sources], ensure_ascii=False, indent=2)
    raise ValueError(f"there is no style `{style}`: use text, bibtex or csl-json")


def _text(sources: Sequence[Source], at: datetime.datetime, statement: str | None, server: str) -> str:
    lines = []
    for source in sources:
        licence = f" Licence: {source.licence}." if source.licence else ""
        page = f" {source.landing_page}" if source.landing_page else ""
        lines.append(f"{_sentence(source)} Table {source.table}, version {source.version}.{licence}{page}")
    asked = f"Retrieved {at:%Y-%m-%d %H:%M} UTC"
    if server:
        asked += f" from {server}"
    if statement is not None:
        # The text itself may be long; its hash tells whether it is the same one.
        asked += f"; query SHA-256 {hashlib.sha256(statement.encode()).hexdigest()}"
    return "\n".join([*lines, asked + "."])


def _sentence(source: Source) -> str:
    text = (source.citation or f"Table {source.table}").strip()
    return text if text.endswith((".", "!", "?")) else text + "."


def _bibtex(source: Source, at: datetime.datetime, server: str) -> str:
    key = re.sub(r"\W", "_", f"{source.table}_v{source.version}")
    fields = {
        "title": f"{{{_escaped(_sentence(source).rstrip('.'))}}}",
        "version": str(source.version),
        "note": _escaped(f"Table {source.table}" + (f", licence {source.licence}" if source.licence else "")),
        "url": source.landing_page or server,
        "urldate": f"{at:%Y-%m-%d}",
    }
    lines = [f"  {name} = {{{value}}}" for name, value in fields.items() if value]
    return f"@misc{{{key},\n" + ",\n".join(lines) + "\n}"


def _escaped(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(character, f"\\{character}" if character in "&%$#_" else character) for character in text)


def _csl(source: Source, at: datetime.datetime, server: str) -> dict[str, object]:
    entry: dict[str, object] = {
        "id": f"{source.table}@{source.version}",
        "type": "dataset",
        "title": _sentence(source).rstrip("."),
        "version": str(source.version),
        "accessed": {"date-parts": [[at.year, at.month, at.day]]},
    }
    if source.landing_page or server:
        entry["URL"] = source.landing_page or server
    if source.licence:
        entry["license"] = source.licence
    return entry
