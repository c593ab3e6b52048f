"""An archive replayed at a pace that leaves time for faults, into Redis, and what came of it."""

import json
import os
import time

import oracle
from kills import FINISH, Starter, summarised
from services import RedisError, wait_until

# Seconds of event time in an archive.
SPAN = 3 * 86_400


class Load:
    """One replay, over as many processes as it takes. Every delivery is published, so that repeated ones are applied too."""

    def __init__(self, harness, draw, directory, store, deliveries, seconds, configuration, outcome):
        self.directory, self.store, self.outcome = directory, store, outcome
        self.archive, self.wanted = harness.archive(draw, deliveries)
        outcome.events = self.archive.deliveries
        self.config = directory / "config.yaml"
        self.config.write_text(json.dumps(configuration | {"dedup": {"window": "0s"}}))
        self.start = Starter(harness.binary, self.config, directory, self.archive.files)
        self.speed = str(round(SPAN / seconds))
        self.published = 0
        self.resume()
        wait_until(lambda: self.sequence() > 0 or not self.product.alive(), "the first batch is applied", FINISH)

    def resume(self):
        self.product = self.start.replay("--speed", self.speed)

    def kill(self):
        """SIGKILL of pulsehub."""
        self.published += int(self.product.metrics().get("pulsehub_events_published_total", 0))
        self.outcome.fault("SIGKILL of pulsehub", self.product.kill())

    def alive(self):
        """Whether something of it is not settled yet."""
        return self.product.alive()

    def flowing(self):
        """Whether more is to come."""
        return self.alive() and "replayed in" not in self.product.log()

    def applying(self):
        """Whether a batch was applied within the last second: their numbers are Unix milliseconds."""
        return self.sequence() > (time.time() - 1) * 1_000

    def sequence(self):
        """The number of the last batch applied; 0 where there is none, -1 where Redis does not say."""
        try:
            with self.store.redis.client(timeout=1) as client:
                return int(client.get("ph:seq") or 0)
        except (OSError, RedisError):
            return -1

    def grown(self, before, seconds):
        """Waits for a batch later than `before`. Returns the seconds, `None` if everything ended first."""
        began = time.monotonic()
        if before < 0:
            wait_until(lambda: self.sequence() >= 0, "Redis says how far it is", seconds)
            before = self.sequence()
        wait_until(lambda: self.sequence() > before or not self.alive(), "a batch is applied", seconds)
        return time.monotonic() - began if self.sequence() > before else None

    def finish(self, again):
        """Lets it come to its end and compares; `again` has everything delivered once more under other names."""
        self.ended(self.product, "")
        if again:
            (self.directory / "again").mkdir()
            files = [self.directory / "again" / path.name for path in self.archive.files]
            for path, link in zip(self.archive.files, files):
                os.link(path, link)
            self.ended(self.start.start("again", "replay", "--exit", *files), "after everything came again: ")
        self.outcome.duplicates = max(0, self.published - self.archive.distinct)
        self.store.close()

    def ended(self, product, prefix):
        code = product.wait(FINISH)
        if code != 0:
            self.outcome.problems.append(f"{prefix}pulsehub ended with {code}")
        self.published += summarised(product.log())
        found = oracle.differences(self.wanted, self.store.counters(self.config))
        self.outcome.problems += [prefix + difference for difference in found]


def revived(service):
    """The service, running whatever a round before left of it."""
    if service.alive():
        service.resume()
    else:
        service.restart(180)
    return service
