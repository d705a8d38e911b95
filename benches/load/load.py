"""Measures `hambar serve` beside Datasette and ROAPI: the same rows and questions, from a second process on loopback.

All servers are started and asked in turn, task by task; before each task everything is idle. What a server does not offer
is not measured (an answer of 304, Arrow). Answers are compared before anything is measured.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import pyarrow as pa

import inputs
import wrk
from servers import Datasette, Hambar, Roapi, memory_of

AGGREGATE = "SELECT country, count(*) AS n, avg(value) AS mean FROM {table} GROUP BY country ORDER BY country LIMIT 20"
BY_YEAR = "SELECT year, avg(value) AS mean FROM {table} WHERE country = $1 GROUP BY year ORDER BY year"
PAGE = "SELECT id, year, value FROM {table} WHERE country = $1 AND year = $2 ORDER BY id LIMIT 100"
WHOLE = f"SELECT {', '.join(inputs.COLUMNS)} FROM {{table}}"
CONNECTIONS = 16
CLIENTS = 200
# What each peer should be beaten by.
BARS = {"datasette": 5, "roapi": 2}
TASKS = ("cached", "unchanged", "point", "arrow", "csv", "mixed")
STREAMS = 5
# A server that takes so long for its streams is not asked for more of them.
SLOW_SECONDS = 20


class Bench:
    def __init__(self, arguments, work):
        self.seconds = arguments.seconds
        self.rows = []
        self.servers = []
        for start in (lambda: Hambar(work, arguments.binaries / "hambar"), lambda: Datasette(work), lambda: Roapi(work)):
            try:
                self.servers.append(start())
            except BaseException:
                self.stop()
                raise

    def stop(self):
        for server in self.servers:
            server.stop()

    def each(self, task, measure, servers=None):
        """Measures every server in turn and notes the ratios."""
        found = {}
        for server in servers or self.servers:
            for other in self.servers:
                other.settle()
            found[server.name] = measure(server)
            self.note(task, server.name, found)

    def note(self, task, name, found):
        measured, ours = found[name], found["hambar"]
        ratio = "" if name == "hambar" or not measured["per_second"] else f"{ours['per_second'] / measured['per_second']:.1f}"
        bar = str(BARS.get(name, ""))
        show = lambda value: "" if value is None else f"{value:.1f}" if value < 1000 else f"{value:.0f}"  # noqa: E731
        cells = (task, name, show(measured["per_second"]), show(measured.get("p50")), show(measured.get("p95")),
                 show(measured.get("p99")), str(measured["errors"]), ratio, bar, measured.get("note", ""))
        self.rows.append(cells)
        print("  " + " | ".join(cells), flush=True)

    def print(self):
        print("\n| task | server | per second | p50 ms | p95 ms | p99 ms | errors | times as many | bar | note |")
        print("|---|---|---:|---:|---:|---:|---:|---:|---:|---|")
        for cells in self.rows:
            print("| " + " | ".join(cells) + " |")


def as_dict(measured, note=""):
    return {**vars(measured), "note": note}


def check_alike(bench):
    """Everybody answers the same before anybody is measured."""
    for text, params in ((AGGREGATE, ()), (BY_YEAR, ("C007",)), (PAGE, ("C007", 1961))):
        answers = {server.name: rounded(server, server.sql(text.format(table=server.table), "json", params)) for server in bench.servers}
        if len({json.dumps(answer) for answer in answers.values()}) != 1:
            raise SystemExit(f"the servers do not agree on {text}: {json.dumps(answers)[:600]}")
    points = {server.name: [row["note"] for row in rows_of(server, server.point(77))] for server in bench.servers}
    if set(map(tuple, points.values())) != {("note on observation 77",)}:
        raise SystemExit(f"the servers do not agree on one row: {points}")


def rows_of(server, request):
    answer = json.loads(server.fetch(request)[1])
    return answer["rows"] if isinstance(answer, dict) else answer


def rounded(server, request):
    return [{name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()} for row in rows_of(server, request)]


def cached(bench):
    def measure(server):
        request = server.sql(AGGREGATE.format(table=server.table), "json")
        server.fetch(request)
        return as_dict(wrk.measure(server, request, CONNECTIONS, bench.seconds), "from its cache" if server.name == "hambar" else "has no cache")

    bench.each("the same aggregate again", measure)


def unchanged(bench):
    def measure(server):
        request = server.sql(AGGREGATE.format(table=server.table), "json")
        tag = server.fetch(request)[0]["ETag"]
        return as_dict(wrk.measure(server, request, CONNECTIONS, bench.seconds, headers={"If-None-Match": tag}), "304; the others have no tag")

    bench.each("the same, unchanged", measure, bench.servers[:1])


def point(bench):
    def measure(server):
        return as_dict(wrk.measure(server, server.point(wrk.PLACE), CONNECTIONS, bench.seconds, numbers=inputs.ROWS), "another row each time")

    bench.each("one row by its key", measure)


def stream(form):
    def task(bench):
        can = [server for server in bench.servers if form == "csv" or server.name != "datasette"]
        bench.each(f"a million rows as {form}", lambda server: streamed(server, form), can)

    return task


def streamed(server, form):
    """Takes the whole table some times, one after the other, with the memory of the server looked at meanwhile."""
    ask = server.stream(form) if isinstance(server, Datasette) else server.sql(WHOLE.format(table=server.table), form)
    peak, done = 0, threading.Event()

    def watch():
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, memory_of(server.process.pid)[0])

    times, body = [], b""
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(STREAMS):
            since = time.monotonic()
            body = curl(server, ask)
            times.append(time.monotonic() - since)
            if sum(times) > SLOW_SECONDS:
                break
    except subprocess.SubprocessError as error:
        # What it said is in its log; the other servers are measured all the same.
        return {"per_second": 0.0, "p50": None, "p95": None, "p99": None, "errors": 1, "note": f"failed: {type(error).__name__}"}
    finally:
        done.set()
        watcher.join()
    count = pa.ipc.open_stream(body).read_all().num_rows if form == "arrow" else body.count(b"\n") - 1
    if count != inputs.ROWS:
        raise SystemExit(f"{server.name} sent {count} rows as {form}")
    times.sort()
    middle = times[len(times) // 2]
    note = f"{middle:.2f} s, {len(body) / middle / 1e6:.0f} MB/s, server and workers {peak / 2**20:.0f} MiB"
    return {"per_second": 1 / middle, "p50": middle * 1000, "p95": None, "p99": times[-1] * 1000, "errors": 0, "note": note}


def curl(server, request):
    """The whole body, taken by a process of its own."""
    command = ["curl", "--silent", "--show-error", "--fail", "--globoff", "--request", request.method, f"http://127.0.0.1:{server.port}{request.target}"]
    for name, value in request.headers.items():
        command += ["--header", f"{name}: {value}"]
    if request.body:
        command += ["--data-binary", request.body]
    return subprocess.run(command, capture_output=True, check=True, timeout=120).stdout


def mixed(bench):
    def measure(server):
        chance = random.Random(11)
        countries = [f"C{code:03}" for code in chance.sample(range(inputs.COUNTRIES), 20)]
        table = server.table
        kinds = [
            (70, [server.sql(BY_YEAR.format(table=table), "json", (country,)) for country in countries]),
            (25, [server.point(chance.randrange(inputs.ROWS)) for _ in range(20_000)]),
            (5, [server.sql(PAGE.format(table=table), "json", (country, year)) for country in countries for year in range(1960, 2020)]),
        ]
        task = {"port": server.port, "clients": CLIENTS, "seconds": bench.seconds * 2,
                "kinds": [{"weight": weight, "requests": [wire(server, request) for request in requests]} for weight, requests in kinds]}
        script = pathlib.Path(__file__).with_name("clients.py")
        done = subprocess.run([sys.executable, script], input=json.dumps(task), capture_output=True, text=True, check=True, timeout=300)
        found = json.loads(done.stdout)
        reasons = ", ".join(f"{count} {reason}" for reason, count in found["reasons"].items())
        return {**found, "note": reasons or "70 % of 20 aggregates, 25 % single rows, 5 % pages"}

    bench.each(f"mixed, {CLIENTS} clients", measure)


def wire(server, request):
    """A request as it goes over the wire."""
    headers = {"Host": f"127.0.0.1:{server.port}", **request.headers}
    if request.body:
        headers["Content-Length"] = str(len(request.body.encode()))
    lines = [f"{request.method} {request.target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines) + "\r\n\r\n" + request.body


RUN = {"cached": cached, "unchanged": unchanged, "point": point, "arrow": stream("arrow"), "csv": stream("csv"), "mixed": mixed}


def arguments_of():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", type=pathlib.Path, required=True, help="folder of `hambar`, a release build")
    parser.add_argument("--data", type=pathlib.Path, help="folder for inputs and the store, kept; a temporary one when absent")
    parser.add_argument("--only", default=",".join(TASKS), help=f"tasks: {', '.join(TASKS)}")
    parser.add_argument("--seconds", type=int, default=6, help="of each task and server; the mixed load takes twice as long")
    parser.add_argument("--prepare", action="store_true", help="only make the inputs and load them")
    return parser.parse_args()


def main():
    arguments = arguments_of()
    tasks = arguments.only.split(",")
    unknown = [task for task in tasks if task not in RUN]
    if unknown or arguments.seconds < 1:
        raise SystemExit(f"the tasks are {', '.join(TASKS)}, and --seconds at least 1")
    arguments.binaries = arguments.binaries.resolve()
    work = arguments.data.resolve() if arguments.data else pathlib.Path(tempfile.mkdtemp(prefix="hambar-load-"))
    work.mkdir(parents=True, exist_ok=True)
    # Whoever stops this, stops the servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    inputs.make(work)
    bench = Bench(arguments, work)
    try:
        check_alike(bench)
        versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("datasette", "roapi"))
        print(f"{os.cpu_count()} processors; load {os.getloadavg()[0]:.1f}; {bench.servers[0].version()}; {versions}; {CONNECTIONS} connections")
        for task in [] if arguments.prepare else tasks:
            RUN[task](bench)
    finally:
        bench.stop()
        if not arguments.data:
            shutil.rmtree(work, ignore_errors=True)
    bench.print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
