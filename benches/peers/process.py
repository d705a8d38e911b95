"""Runs one process and says how long it took and how much memory it had, with all its children; and runs contenders in turn."""

import json
import os
import pathlib
import subprocess
import threading
import time

# A process that takes longer has hung.
SECONDS_MAX = 1800
# A contender that took longer than this is not run again.
SLOW_SECONDS = 30
# Between two looks at the memory.
LOOK_SECONDS = 0.02
PEERS = pathlib.Path(__file__).resolve().parent / "peer"


class Failed(Exception):
    """A process that ended badly, in its own last words."""


def resident(pid):
    """Resident bytes of a process and its descendants now (pages that they share count in each), and the highest mark of one of them."""
    total, highest, todo = 0, 0, [pid]
    while todo:
        current = todo.pop()
        try:
            for line in pathlib.Path(f"/proc/{current}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1]) * 1024
                elif line.startswith("VmHWM:"):
                    highest = max(highest, int(line.split()[1]) * 1024)
            for task in pathlib.Path(f"/proc/{current}/task").iterdir():
                todo += [int(child) for child in (task / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue  # It ended while it was looked at.
    return total, highest


class Ended:
    """What a process that ended well leaves behind."""

    def __init__(self, out, seconds, looks, highest):
        self.out = out
        self.seconds = seconds
        self.looks = looks
        self.peak = max([highest, *(held for _, held in looks)])

    def lines(self):
        """The JSON lines of its output."""
        return [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]

    def peak_of_last(self, seconds):
        """The peak of its last seconds."""
        begin = self.seconds - seconds - 2 * LOOK_SECONDS
        return max((held for instant, held in self.looks if instant >= begin), default=0)


def timed(command, **options):
    """Runs a command to its end."""
    begin = time.monotonic()
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )
    looks, highest, done = [], 0, threading.Event()

    def watch():
        nonlocal highest
        while not done.wait(LOOK_SECONDS):
            held, mark = resident(process.pid)
            looks.append((time.monotonic() - begin, held))
            highest = max(highest, mark)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        out, err = process.communicate(timeout=SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        err += f"\nkilled after {SECONDS_MAX} s"
    finally:
        seconds = time.monotonic() - begin
        done.set()
        watcher.join()
    if process.returncode != 0:
        words = " | ".join((err or out).strip().splitlines()[-3:])
        raise Failed(f"{pathlib.Path(str(command[0])).name} ended with {process.returncode}: {words}")
    return Ended(out, seconds, looks, highest)


def peer(python, script, task, **options):
    """Runs a script of `peer/` in a process of its own; it says on its last line how long the engine itself took."""
    ended = timed([python, PEERS / script, json.dumps(task, default=str)], **options)
    ended.facts = ended.lines()[-1]
    ended.seconds = ended.facts["seconds"]
    return ended


class Series:
    """The repetitions of one contender: the fastest counts for time, the largest for memory."""

    def __init__(self):
        self.runs = []
        self.error = None

    @property
    def seconds(self):
        return min(run.seconds for run in self.runs)

    @property
    def slowest(self):
        return max(run.seconds for run in self.runs)

    @property
    def peak(self):
        return max(run.peak for run in self.runs)


def in_turns(contenders, times, slow_seconds=SLOW_SECONDS):
    """Runs contenders by turns, so that what slows the machine slows all of them; one that fails or is slow is not run again."""
    series = {name: Series() for name in contenders}
    for _ in range(times):
        for name, run in contenders.items():
            held = series[name]
            if held.error or (held.runs and held.slowest > slow_seconds):
                continue
            os.sync()  # Nobody pays for what another one wrote.
            try:
                held.runs.append(run())
            except Failed as error:
                held.error = str(error)
    return series
