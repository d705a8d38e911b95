"""A real server over the store of `hambar demo`, and a server that answers whatever a test wants."""

from __future__ import annotations

import http.server
import os
import pathlib
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

import hambar

# Rows of an answer of the tests' server.
ROWS_MAX = 50_000
SECONDS_MAX = 120


# Every `HAMBAR_…` is a setting of the server, except the name of the binary.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("HAMBAR_")}


def _binary() -> str:
    binary = os.environ.get("HAMBAR_BIN")
    if binary:
        return binary
    why = "HAMBAR_BIN does not name the `hambar` binary"
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


@dataclass
class Served:
    """A running server and its tokens."""

    url: str
    folder: pathlib.Path
    token: str
    elsewhere: str
    # The address of Flight SQL, where the server has it.
    flight: str | None

    def connect(self, **options: object) -> hambar.Client:
        return hambar.connect(self.url, self.token, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    binary = _binary()
    folder = tmp_path_factory.mktemp("store")

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [binary, *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("demo", "--folder", str(folder))
    with (folder / "hambar.toml").open("a") as settings:
        settings.write(f"\n[server.queries]\nresult_rows_max = {ROWS_MAX}\n")
    run("members", "add-org", "tests")
    token = run("members", "add-token", "tests", "all", "--role", "reader", "--scope", "*").split()[-1]
    elsewhere = run("members", "add-token", "tests", "none", "--role", "reader", "--scope", "elsewhere").split()[-1]
    arguments = ["serve", "--listen", "127.0.0.1:0"]
    has_flight = "--flight" in run("serve", "--help")
    if has_flight:
        arguments += ["--flight", "127.0.0.1:0"]
    log = (folder / "log").open("w")
    server = subprocess.Popen([binary, *arguments], cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        ports = _listening(server, folder, {"http", "grpc"} if has_flight else {"http"})
        yield Served(ports["http"], folder, token, elsewhere, ports.get("grpc"))
    finally:
        server.terminate()
        server.wait(SECONDS_MAX)
        if server.stdout is not None:
            server.stdout.close()
        log.close()


def _listening(server: subprocess.Popen[str], folder: pathlib.Path, wanted: set[str]) -> dict[str, str]:
    """Read where the server listens, in whatever order it says so."""
    assert server.stdout is not None
    found: dict[str, str] = {}
    for line in server.stdout:
        address = line.split()[-1]
        found[address.partition("://")[0]] = address
        if wanted <= set(found):
            return found
    raise AssertionError(f"the server does not listen on {wanted}: {(folder / 'log').read_text()}")


@pytest.fixture
def client(served: Served) -> Iterator[hambar.Client]:
    with served.connect() as made:
        yield made


Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Pretender:
    """Answers requests with what a test gave it, the last answer again and again, and keeps what it was sent."""

    answers: list[Answer] = field(default_factory=list)
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def pretender() -> Iterator[Callable[..., Pretender]]:
    running: list[http.server.ThreadingHTTPServer] = []

    def start(*answers: Answer) -> Pretender:
        made = Pretender(list(answers))

        class Handler(http.server.BaseHTTPRequestHandler):
            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                made.seen.append((self.command, self.path, dict(self.headers.items())))
                status, headers, body = made.answers.pop(0) if len(made.answers) > 1 else made.answers[0]
                self.send_response(status)
                headers = {"Content-Length": str(len(body)), **headers}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_DELETE = _answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        running.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made.url = f"http://127.0.0.1:{server.server_address[1]}"
        return made

    yield start
    for server in running:
        server.shutdown()
        server.server_close()
