"""Half an hour of steady load on all engines at once, with a fault every few seconds; then everything is compared."""

import json
import signal
import statistics
import threading
import time

from datetime import timedelta

import oracle
from history import WithHistory
from kills import FINISH, Starter, summarised
from outcome import Outcome
from soak_faults import Faults
from services import wait_until
from terminations import GOING_AWAY, Watcher

EVENTS_A_SECOND = 500
# Seconds between two faults.
EVERY = 5
# How much more memory than after its beginning a process may hold at its end.
GROWTH = 0.10
# Seconds of the beginning, and of each of the two windows that are compared.
WINDOW = 300
# Seconds that a process may take to end in order.
DRAIN = 30


class Soak:
    """Three processes on a topic: one with all roles that lives through everything, a worker, and a second source."""

    name = "soak"
    title = "soak: all engines, a fault every 5 s, 500 events/s"
    goal = "0 lost, 0 double; resident memory flat within 10 % after 5 minutes"
    needed = "SIGKILL"
    rounds, short_rounds = 1, 1
    seconds, short_seconds = 1800, 40

    def __init__(self, harness):
        self.harness = harness
        self.length = self.short_seconds if harness.short else self.seconds

    def round(self, name, draw, directory):
        outcome = Outcome()
        span = timedelta(seconds=self.length)
        archive, wanted = self.harness.archive(draw, EVENTS_A_SECOND * self.length, span=span)
        store = WithHistory(self.harness, directory, name, proxied=True)
        start = SoakStarter(self.harness.binary, store, directory, archive.files)
        lasting = start.lasting()
        began = time.monotonic()
        watcher = Watcher(lasting)
        faults = Faults(self.harness, outcome, draw, start, lasting)
        memory = Memory(lasting)
        end_by = began + 2 * self.length + FINISH
        while lasting.alive() and "replayed in" not in lasting.log() and not faults.broken:
            if time.monotonic() > end_by:
                outcome.problems.append("the load does not end")
                break
            time.sleep(EVERY)
            faults.one()
        # Stalls are caught up with: pace is what it is about.
        outcome.took("under load", time.monotonic() - began, 1.2 * self.length + FINISH)
        faults.heal()
        began = time.monotonic()
        memory.judge(outcome, WINDOW)
        problems = outcome.problems
        if faults.broken:
            return outcome
        start.count_source()
        # The second source has nothing to say that the first did not.
        end("the second source", start.source, outcome)
        if lasting.wait(FINISH) != 0:
            problems.append("the process that lasts did not end well")
        # What the second source sent at last is the worker's.
        wait_until(lambda: store.pulsar.backlog(store.topic, "workers") == 0, "everything is settled", FINISH)
        outcome.took("all settled after the load", time.monotonic() - began)
        end("the worker", start.worker, outcome)
        if watcher.end() != GOING_AWAY:
            problems.append(f"the client saw {watcher.socket.closed}")
        outcome.events = archive.deliveries
        outcome.duplicates = max(0, start.published + summarised(lasting.log()) - archive.distinct)
        problems += oracle.differences(wanted, store.counters(None)) + store.problems(archive, start.config)
        store.close()
        return outcome


def end(what, product, outcome):
    """Ends a process in order; one that was killed at the last moment has ended already."""
    product.signal(signal.SIGTERM)
    if product.wait(DRAIN) != 0:
        outcome.problems.append(f"{what} did not end well")


class SoakStarter(Starter):
    """Starts each of the three, and again whichever was killed."""

    def __init__(self, binary, store, directory, files):
        config = directory / "config.yaml"
        config.write_text(json.dumps(store.configuration()))
        super().__init__(binary, config, directory, files)
        self.second = directory / "second.yaml"
        # It remembers nothing, so that what it repeats is sent again.
        own = {"storage": {"path": str(directory / "second")}, "dedup": {"window": "0s"}}
        self.second.write_text(json.dumps(store.configuration() | own))
        self.worker = self.source = None
        # Events that second sources sent, as far as they were asked.
        self.published = 0

    def lasting(self):
        """The archive in the time that it took to happen. Memory and clients are watched here."""
        lasting = self.replay("--speed", "1", "--live")
        self.again_worker()
        self.again_source()
        return lasting

    def again_worker(self):
        self.worker = self.colleague()

    def again_source(self):
        first, self.config = self.config, self.second
        # Half of the archive in the same time: what is sent twice would cover up what was lost once.
        self.source = self.start("source", "replay", "--roles", "poll,work", "--speed", "0.5", *self.files[1::2])
        self.config = first

    def count_source(self):
        """Asks the second source how much it sent, before it ends."""
        self.published += int(self.source.metrics().get("pulsehub_events_published_total", 0))


class Memory:
    """Resident bytes of a process by time, once a second."""

    def __init__(self, product):
        self.product, self.samples = product, []
        self.thread = threading.Thread(target=self.sample, daemon=True)
        self.thread.start()

    def sample(self):
        while self.product.alive():
            try:
                self.samples.append((time.monotonic() - self.product.started, self.product.resident_bytes()))
            except (OSError, IndexError):
                return
            time.sleep(1)

    def judge(self, outcome, window):
        """Compares the medians of the window behind the beginning and of the last one; nothing where they overlap."""
        mib = [(second, size / 2**20) for second, size in self.samples]
        outcome.took("resident memory at most, MiB", max(size for _, size in mib))
        if mib[-1][0] < 3 * window:
            return
        early = statistics.median(size for second, size in mib if window <= second < 2 * window)
        late = statistics.median(size for second, size in mib if second >= mib[-1][0] - window)
        outcome.took(f"resident memory after {window // 60} min, MiB", early)
        outcome.took("resident memory at the end, MiB", late)
        if late > early * (1 + GROWTH):
            outcome.problems.append(f"resident memory grew from {early:.1f} to {late:.1f} MiB")
