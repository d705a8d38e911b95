"""The table of results."""


class Table:
    def __init__(self):
        self.rows = []
        self.failures = 0

    def add(self, task, ours, peer_name, peer, note=""):
        """One task of one peer; both are series of runs."""
        if ours.error or peer.error:
            self.fail(task, peer_name, " / ".join(error for error in (ours.error, peer.error) if error))
            return
        spread = f"{len(ours.runs)} × {ours.seconds:.2f}–{ours.slowest:.2f} / {len(peer.runs)} × {peer.seconds:.2f}–{peer.slowest:.2f} s"
        self.row(
            task,
            peer_name,
            f"{ours.seconds:.2f}",
            f"{peer.seconds:.2f}",
            f"{peer.seconds / ours.seconds:.2f}",
            f"{ours.peak / 2**20:.0f} / {peer.peak / 2**20:.0f}",
            "; ".join(part for part in (note, spread) if part),
        )

    def fail(self, task, peer_name, why):
        """A task that gave no ratio; the command ends with an error."""
        self.failures += 1
        self.row(task, peer_name, "failed", "", "", "", why[:300])

    def row(self, *cells):
        self.rows.append(tuple(cell.replace("|", "/").replace("\n", " ") for cell in cells))
        print("  " + " | ".join(self.rows[-1]), flush=True)

    def print(self):
        print("\n| task | peer | ours s | peer s | times as fast | peak MiB ours / peer | note |")
        print("|---|---|---:|---:|---:|---:|---|")
        for row in self.rows:
            print("| " + " | ".join(row) + " |")
