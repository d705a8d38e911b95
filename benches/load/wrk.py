"""One request again and again, or one of a kind with another number each time, sent by wrk."""

import dataclasses
import json
import re
import subprocess

SCRIPT = """
wrk.method = {method}
wrk.body = {body}
{headers}
{request}
function done(summary, latency, requests)
  local errors = summary.errors
  local ms = function(p) return latency:percentile(p) / 1000 end
  io.write(string.format('RESULT %d %d %d %d %f %f %f\\n', summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.timeout, errors.status, ms(50), ms(95), ms(99)))
end
"""
NUMBERED = """
math.randomseed(os.time())
local first, last = {first}, {last}
request = function() return wrk.format(nil, first .. math.random(0, {count} - 1) .. last) end
"""
# A number that stands in a target for the one that changes.
PLACE = 987654321


@dataclasses.dataclass
class Measured:
    """Answers per second, and milliseconds until half, 95 % and 99 % of them were there."""

    per_second: float
    p50: float
    p95: float
    p99: float
    errors: int


def lua(text):
    """A text as Lua writes it."""
    return "'" + re.sub(r"[\\'\n\r]", lambda match: f"\\{ord(match.group(0)):03}", text) + "'"


def measure(server, request, connections, seconds, numbers=0, headers=None, expected=None):
    """Sends for some seconds; with `numbers`, each request has another number in place of `PLACE`."""
    numbered = ""
    if numbers:
        first, last = request.target.split(str(PLACE))
        numbered = NUMBERED.format(first=lua(first), last=lua(last), count=numbers)
    sent = {**request.headers, **(headers or {})}
    script = SCRIPT.format(
        method=lua(request.method),
        body=lua(request.body) if request.body else "nil",
        headers="\n".join(f"wrk.headers[{lua(name)}] = {lua(value)}" for name, value in sent.items()),
        request=numbered,
    )
    path = server.work / f"{server.name}.lua"
    path.write_text(script)
    target = request.target.replace(str(PLACE), "1")
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s", "--timeout", "30s",
               "--script", str(path), f"http://127.0.0.1:{server.port}{target}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 120)
    found = re.search(r"^RESULT (\d+) (\d+) (\d+) (\d+) (\S+) (\S+) (\S+)$", done.stdout, re.MULTILINE)
    if done.returncode != 0 or not found:
        raise RuntimeError(f"wrk failed: {json.dumps(done.stdout[-300:] + done.stderr[-300:])}")
    requests, microseconds, broken, refused = (int(found.group(place)) for place in range(1, 5))
    # wrk counts every status from 400 as an error of status.
    bad = broken + refused
    good = max(requests - refused, 0)
    return Measured(good / (microseconds / 1e6), float(found.group(5)), float(found.group(6)), float(found.group(7)), bad)
