"""SIGTERM of pulsehub under load: it settles what it holds, says goodbye to its clients, and ends well."""

import json
import signal
import subprocess
import threading
import time

import oracle
from kills import FINISH, Starter
from load import SPAN
from outcome import Outcome
from services import wait_until
from stores import Cluster, Embedded

# Seconds that an archive takes at least.
SECONDS = 3
# Seconds that draining may take.
DRAIN = 30
GOING_AWAY = 1001
CLIENTS = 20


class Terminations:
    """A round is one archive, ended in order once or twice on the way with clients watching, on stores drawn by chance."""

    name = "terminate"
    title = "SIGTERM of pulsehub under load"
    goal = "exit 0 ≤ 30 s, 0 lost, clients see close 1001"
    needed = "SIGTERM"
    rounds, short_rounds = 50, 3

    def __init__(self, harness):
        self.harness = harness

    def round(self, name, draw, directory):
        outcome = Outcome()
        archive, wanted = self.harness.archive(draw)
        outcome.events = archive.deliveries
        if draw.random() < 0.5:
            store = Embedded(self.harness.binary, directory)
        else:
            store = Cluster(self.harness.redis(), self.harness.pulsar(), directory, name)
        config = directory / "config.yaml"
        config.write_text(json.dumps(store.configuration()))
        start = Starter(self.harness.binary, config, directory, archive.files)
        for _ in range(draw.randint(1, 2)):
            terminated(start, draw.uniform(0, 0.7), store.name, outcome)
        if start.replay().wait(FINISH) != 0:
            outcome.problems.append("the last replay did not end well")
        outcome.problems += oracle.differences(wanted, store.counters(config))
        store.close()
        return outcome


def terminated(start, moment, stores, outcome):
    """One process, ended by SIGTERM at a moment after it greeted its clients and published something."""
    # Without --exit it does not end by itself, so that the signal always meets it; and at this speed its load lasts.
    product = start.start("replay", "replay", "--live", "--speed", str(round(SPAN / SECONDS)), *start.files)
    watchers = [Watcher(product) for _ in range(CLIENTS)]
    wait_until(lambda: published(product) or "replayed in" in product.log(), "load", FINISH)
    time.sleep(moment)
    # Before the first are settled: what is published is to be applied, and what is applied to be settled.
    waiting = product.metrics().get("pulsehub_backlog_messages", 0) > 0 or "replayed in" not in product.log()
    began = time.monotonic()
    product.signal(signal.SIGTERM)
    try:
        code = product.wait(DRAIN)
    except subprocess.TimeoutExpired:
        outcome.problems.append(f"SIGTERM: still running after {DRAIN} s")
        product.kill()
        return
    outcome.took("drain", time.monotonic() - began, DRAIN)
    outcome.fault(f"SIGTERM, {stores}", hit=waiting)
    if code != 0:
        outcome.problems.append(f"SIGTERM: exit code {code}")
    ends = [watcher.end() for watcher in watchers]
    if ends != [GOING_AWAY] * CLIENTS:
        outcome.problems.append(f"SIGTERM: clients saw {ends}")


def published(product):
    return product.metrics().get("pulsehub_events_published_total", 0)


class Watcher:
    """A front end that reads everything until its socket ends."""

    def __init__(self, product):
        self.socket, _ = product.greet()
        self.socket.send('{"samplingRate":1}')
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        while self.socket.closed is None:
            try:
                self.socket.read(timeout=60)
            except TimeoutError:
                # Nothing happened for so long.
                continue

    def end(self):
        """The close code that it saw."""
        self.thread.join(10)
        return self.socket.closed
