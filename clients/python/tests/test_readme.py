"""The example of the README, as it stands there."""

from __future__ import annotations

import pathlib
import re

import pytest
from conftest import Served

import hambar


def test_the_example_runs(served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = (pathlib.Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert example is not None
    monkeypatch.setenv("DATA_TOKEN", served.token)
    code = example.group(1).replace("https://data.example.org", served.url)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102
    result = names["result"]
    assert isinstance(result, hambar.Result)
    assert result.arrow().num_rows > 0
    assert "Licence: CC-BY-4.0." in capsys.readouterr().out
