"""What the package does with servers that are busy, broken or not what they seem; and that it never shows a token."""

from __future__ import annotations

import logging
import socket
import traceback
from collections.abc import Callable

import pyarrow as pa
import pytest
from conftest import Pretender

import hambar

TOKEN = "hbr_a-token-that-must-not-be-shown"  # noqa: S105
PROBLEM = {"Content-Type": "application/problem+json"}
ARROW = {"Content-Type": "application/vnd.apache.arrow.stream"}
Start = Callable[..., Pretender]


def stream(rows: int = 3) -> bytes:
    table = pa.table({"a": list(range(rows))})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, rows // 3))
    return bytes(sink.getvalue())


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(pretender: Start, status: int) -> None:
    busy = (status, {**PROBLEM, "Retry-After": "0"}, b'{"class": "quota", "detail": "busy"}')
    server = pretender(busy, busy, (200, ARROW, stream()))
    with hambar.connect(server.url, TOKEN) as client:
        assert client.sql("SELECT 1").arrow().num_rows == 3
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((503, PROBLEM, b'{"class": "store", "detail": "gone"}'), hambar.StoreError),
        ((429, {**PROBLEM, "Retry-After": "3600"}, b'{"class": "quota", "detail": "busy"}'), hambar.QuotaError),
        ((429, {**PROBLEM, "Retry-After": "soon"}, b'{"class": "quota", "detail": "busy"}'), hambar.QuotaError),
        ((500, {**PROBLEM, "Retry-After": "0"}, b'{"class": "internal", "detail": "defect"}'), hambar.ServerError),
        ((502, {"Content-Type": "text/html", "Retry-After": "0"}, b"<h1>proxy</h1>"), hambar.UnexpectedAnswerError),
        ((400, PROBLEM, b"[1]"), hambar.UnexpectedAnswerError),
        ((400, PROBLEM, b"{"), hambar.UnexpectedAnswerError),
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), hambar.UnexpectedAnswerError),
        ((200, {"Content-Type": "text/html"}, b"<h1>login</h1>"), hambar.UnexpectedAnswerError),
        ((200, ARROW, b"no arrow at all"), hambar.UnexpectedAnswerError),
    ],
)
def test_anything_else_fails_at_once(pretender: Start, answer: object, kind: type[Exception]) -> None:
    server = pretender(answer)
    with hambar.connect(server.url, TOKEN) as client, pytest.raises(kind):
        client.sql("SELECT 1")
    assert len(server.seen) == 1


def test_waiting_ends_when_its_budget_does(pretender: Start) -> None:
    server = pretender((503, {**PROBLEM, "Retry-After": "0"}, b'{"class": "transient", "detail": "not now"}'))
    with hambar.connect(server.url, TOKEN, retry_seconds=0.25) as client, pytest.raises(hambar.TransientError, match="not now"):
        client.tables()
    assert 2 <= len(server.seen) <= 4


def test_an_answer_without_its_end_is_an_error(pretender: Start) -> None:
    whole = stream(30_000)
    for length in (len(whole) // 2, len(whole) - 4):
        server = pretender((200, {**ARROW, "Content-Length": str(len(whole))}, whole[:length]))
        with hambar.connect(server.url, TOKEN, timeout=1.0) as client:
            result = client.sql("SELECT 1")
            with pytest.raises(hambar.BrokenOffError, match="broke off after"):
                result.arrow()


def test_rows_that_end_early_are_not_taken_for_all(pretender: Start) -> None:
    whole = stream(30_000)
    # The length of the answer is right, the stream is not: in the middle of a batch, after a batch, beyond the end.
    for body in (whole[: len(whole) // 2], whole[:-8]):
        server = pretender((200, ARROW, body))
        with hambar.connect(server.url, TOKEN) as client, pytest.raises(hambar.BrokenOffError):
            client.sql("SELECT 1").arrow()
    server = pretender((200, ARROW, whole + b"x"))
    with hambar.connect(server.url, TOKEN) as client, pytest.raises(hambar.UnexpectedAnswerError, match="goes on"):
        client.sql("SELECT 1").arrow()


def test_a_page_on_another_host_is_not_followed(pretender: Start) -> None:
    server = pretender((200, {**ARROW, "Link": '<http://evil.example/api/tables/a.b?_after=x>; rel="next"'}, stream()))
    with hambar.connect(server.url, TOKEN) as client, pytest.raises(hambar.UnexpectedAnswerError, match="not on this server"):
        list(client.pages("a.b"))


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with hambar.connect(f"http://127.0.0.1:{port}", TOKEN) as client, pytest.raises(hambar.UnreachableError) as gone:
        client.tables()
    assert TOKEN not in "".join(traceback.format_exception(gone.value))


def test_the_token_is_sent_and_never_shown(pretender: Start, caplog: pytest.LogCaptureFixture) -> None:
    server = pretender((401, PROBLEM, b'{"class": "denied", "detail": "no"}'))
    client = hambar.connect(server.url, TOKEN)
    with caplog.at_level(logging.DEBUG), pytest.raises(hambar.DeniedError) as denied:
        client.sql("SELECT 1")
    assert server.seen[0][2]["Authorization"] == f"Bearer {TOKEN}"
    shown = [repr(client), str(client), repr(denied.value), caplog.text, "".join(traceback.format_exception(denied.value))]
    assert not any(TOKEN in text for text in shown)
    client.close()


def test_a_token_is_not_sent_in_the_clear() -> None:
    with pytest.raises(ValueError, match="in the clear") as refused:
        hambar.connect("http://data.example.org", TOKEN)
    assert TOKEN not in str(refused.value)
    hambar.connect("http://data.example.org", TOKEN, allow_plaintext=True).close()
    hambar.connect("http://data.example.org").close()
    hambar.connect("https://data.example.org", TOKEN).close()


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("ftp://host", None),
        ("host:8080", None),
        ("https://user:secret@host", None),
        ("https://host/?token=x", None),
        ("https://host", "two words"),
        ("https://host", "line\r\nX-Other: 1"),
        ("https://host", ""),
    ],
)
def test_addresses_and_tokens_that_are_none(url: str, token: str | None) -> None:
    with pytest.raises(ValueError, match="address|token"):
        hambar.connect(url, token)
