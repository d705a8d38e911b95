"""Many clients at once, each with a connection of its own and its next question when the last was answered; run as a
process of its own. Reads the task as JSON from standard input and writes what it measured as JSON."""

import asyncio
import json
import random
import sys
import time

# A client that gets no answer for so long has failed.
SECONDS_MAX = 60


async def answer(reader):
    """Reads one answer; returns its status and how many bytes its body has."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    status = int(lines[0].split(b" ", 2)[1])
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        total = 0
        while True:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            await reader.readexactly(size + 2)
            if size == 0:
                return status, total
            total += size
    length = int(headers.get(b"content-length", b"0"))
    await reader.readexactly(length)
    return status, length


async def client(number, task, until, times, failures):
    chance = random.Random(number)
    kinds, weights = zip(*((kind["requests"], kind["weight"]) for kind in task["kinds"]))
    reader = writer = None
    while time.monotonic() < until:
        request = chance.choice(chance.choices(kinds, weights)[0])
        since = time.monotonic()
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", task["port"], limit=1 << 20)
            writer.write(request)
            status, _ = await asyncio.wait_for(answer(reader), SECONDS_MAX)
            if status >= 400:
                failures.append(f"status {status}")
            else:
                times.append(time.monotonic() - since)
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, ValueError) as error:
            failures.append(type(error).__name__)
            if writer is not None:
                writer.close()
            writer = None
            await asyncio.sleep(0.05)
    if writer is not None:
        writer.close()


async def main():
    task = json.load(sys.stdin)
    for kind in task["kinds"]:
        kind["requests"] = [text.encode() for text in kind["requests"]]
    times, failures = [], []
    begun = time.monotonic()
    until = begun + task["seconds"]
    await asyncio.gather(*(client(number, task, until, times, failures) for number in range(task["clients"])))
    elapsed = time.monotonic() - begun
    times.sort()
    at = lambda share: times[min(int(len(times) * share), len(times) - 1)] * 1000 if times else None  # noqa: E731
    kinds = {reason: failures.count(reason) for reason in set(failures)}
    json.dump({"per_second": len(times) / elapsed, "p50": at(0.5), "p95": at(0.95), "p99": at(0.99),
               "errors": len(failures), "reasons": kinds}, sys.stdout)


asyncio.run(main())
