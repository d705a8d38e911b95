"""The servers: how each is started over the rows, and how each is asked the same question."""

import dataclasses
import functools
import http.server
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

STARTED_SECONDS_MAX = 60
# Datasette and ROAPI are installed beside the interpreter that runs this.
BESIDE = pathlib.Path(sys.executable).parent
PIPELINE = """version = 1
[source]
kind = "http_file"
url = "http://127.0.0.1:{port}/facts.csv"
[format]
kind = "csv"
{columns}
[write]
mode = "snapshot"
key = ["id"]
[origin]
provider = "Measurements"
title = "Made facts"
citation = "Made for measurements"
landing_page = "https://example.org/facts"
licence = "CC0-1.0"
redistribution = "allowed"
"""
TYPES = {"id": "int64", "country": "string", "year": "int32", "indicator": "string", "value": "float64", "note": "string"}
# One token may run four queries at once (two are the default), and as many as there are clients may wait.
SETTINGS = """[store]
url = "store"
[fetch]
contact = "measurements@example.org"
allow_hosts = ["127.0.0.1"]
allow_ports = [{port}]
[server.queries]
per_member_max = 4
queue_max = 1000
queue_per_member_max = 1000
"""


@dataclasses.dataclass
class Request:
    """What is sent: the target and everything besides."""

    target: str
    method: str = "GET"
    headers: dict = dataclasses.field(default_factory=dict)
    body: str = ""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A running server. `sql` and `point` make the requests that stand for the same question everywhere."""

    name = ""
    table = "facts"

    def __init__(self, work):
        self.work = work
        self.port = free_port()
        self.log = open(work / f"{self.name}.log", "w")  # noqa: SIM115 (closed in stop)
        self.process = subprocess.Popen([str(part) for part in self.command()], cwd=self.folder(), stdout=self.log, stderr=self.log)
        self.wait()

    def folder(self):
        return self.work

    def wait(self):
        since = time.monotonic()
        while True:
            try:
                self.fetch(self.sql("SELECT 1 AS one", "json"))
                return
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() - since > STARTED_SECONDS_MAX:
                    self.stop()
                    raise SystemExit(f"{self.name} did not start: {error}; see {self.log.name}") from None
                time.sleep(0.2)

    def fetch(self, request):
        """Asks once; returns headers and body."""
        data = request.body.encode() if request.body else None
        sent = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{request.target}", data=data, headers=request.headers, method=request.method)
        with urllib.request.urlopen(sent, timeout=60) as answer:
            return answer.headers, answer.read()

    def ticks(self):
        """Processor time of the server and its children, as far as they live."""
        total, todo = 0, [self.process.pid]
        while todo:
            pid = todo.pop()
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                total += int(fields[11]) + int(fields[12])
                for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                    todo += [int(child) for child in (task / "children").read_text().split()]
            except (FileNotFoundError, ProcessLookupError):
                continue
        return total

    def settle(self):
        """Waits until nothing of the last task is at work any more."""
        since, before = time.monotonic(), self.ticks()
        while time.monotonic() - since < 30:
            time.sleep(0.5)
            now = self.ticks()
            if now - before <= 2:
                return
            before = now

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class Hambar(Server):
    name = "hambar"
    table = "bench.facts"
    endings = {"json": "", "csv": ".csv", "arrow": ".arrow"}

    def __init__(self, work, binary):
        self.binary = binary
        self.token = self.load(work)
        super().__init__(work)

    def folder(self):
        return self.work / "hambar"

    def load(self, work):
        """Collects the CSV once, from a file server of ours; makes a token each time."""
        folder = work / "hambar"
        (folder / "pipelines" / "bench").mkdir(parents=True, exist_ok=True)
        handler = functools.partial(Quiet, directory=str(work))
        files = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=files.serve_forever, daemon=True).start()
        port = files.server_address[1]
        columns = "\n".join(f'[[columns]]\nname = "{name}"\ntype = "{kind}"' for name, kind in TYPES.items())
        (folder / "hambar.toml").write_text(SETTINGS.format(port=port))
        (folder / "pipelines" / "bench" / "facts.toml").write_text(PIPELINE.format(port=port, columns=columns))
        if not (folder / "store" / "tables" / "bench" / "facts").exists():
            self.run(folder, "run", "bench.facts")
            self.run(folder, "members", "add-org", "load")
        files.shutdown()
        files.server_close()
        return self.run(folder, "members", "add-token", "load", f"t{time.time_ns()}", "--role", "reader", "--scope", "*").split()[-1]

    def run(self, folder, *arguments):
        done = subprocess.run([self.binary, *arguments], cwd=folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"hambar {arguments[0]} failed: {done.stderr[-500:]}")
        return done.stdout

    def command(self):
        return [self.binary, "serve", "--listen", f"127.0.0.1:{self.port}"]

    def version(self):
        return subprocess.run([self.binary, "--version"], capture_output=True, text=True, check=True).stdout.strip()

    def sql(self, text, form, params=()):
        asked = {"q": text}
        if params:
            asked["params"] = json.dumps(list(params))
        headers = {"Authorization": f"Bearer {self.token}"}
        return Request(f"/api/sql{self.endings[form]}?{urllib.parse.urlencode(asked)}", headers=headers)

    def point(self, number):
        return self.sql(f"SELECT {', '.join(TYPES)} FROM {self.table} WHERE id = $1", "json", [number])


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Datasette(Server):
    name = "datasette"

    def command(self):
        # Immutable, and without the limits that would cut these answers short.
        settings = {"sql_time_limit_ms": 60_000, "max_returned_rows": 2_000_000, "max_csv_mb": 0}
        options = [part for name, value in settings.items() for part in ("--setting", name, value)]
        return [BESIDE / "datasette", "serve", "--immutable", "bench.db", "--host", "127.0.0.1", "--port", self.port, *options]

    def sql(self, text, form, params=()):
        asked = {"sql": text} | {f"p{place}": value for place, value in enumerate(params, start=1)}
        for place in range(1, len(params) + 1):
            asked["sql"] = asked["sql"].replace(f"${place}", f":p{place}")
        if form == "json":
            asked["_shape"] = "array"
        else:
            asked["_stream"] = "on"
        return Request(f"/bench.{form}?{urllib.parse.urlencode(asked)}")

    def stream(self, form):
        return Request(f"/bench/facts.{form}?_stream=on&_size=max")

    def point(self, number):
        return Request(f"/bench/facts/{number}.json?_shape=array")


class Roapi(Server):
    name = "roapi"
    accepted = {"json": "application/json", "csv": "application/csv", "arrow": "application/vnd.apache.arrow.stream"}

    def command(self):
        # It reads the whole file into memory, which is its default. The other protocols go to ports of no interest.
        return [
            BESIDE / "roapi", "--addr-http", f"127.0.0.1:{self.port}", "--addr-postgres", f"127.0.0.1:{free_port()}",
            "--addr-flight-sql", f"127.0.0.1:{free_port()}", "--table", f"facts={self.work / 'facts.parquet'}",
        ]

    def sql(self, text, form, params=()):
        for place, value in enumerate(params, start=1):
            text = text.replace(f"${place}", repr(value))
        return Request("/api/sql", "POST", {"Accept": self.accepted[form]}, text)

    def point(self, number):
        return Request(f"/api/tables/facts?filter[id]={number}")


def memory_of(pid):
    """The folder of the other measurements has what looks at processes."""
    sys.path.insert(0, os.fspath(pathlib.Path(__file__).resolve().parents[1] / "peers"))
    from process import resident

    return resident(pid)
