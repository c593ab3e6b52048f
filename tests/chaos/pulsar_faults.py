"""Pulsar killed or paused under load, or the way to it broken: delivery goes on by itself soon after."""

import time

from kills import FINISH
from links import broken
from load import Load, revived
from outcome import Outcome
from services import wait_until
from stores import Cluster

# Seconds after which delivery must have resumed, and after which nobody waits for it any more.
RESUME, GIVE_UP = 30, 120


class BrokerLost(Exception):
    """Pulsar cannot open the topic any more: it lost what it had confirmed, so nothing can be said of pulsehub."""


class PulsarFaults:
    """A round is one archive into an empty Redis behind Pulsar, all that is said to Pulsar through a proxy."""

    goal = "0 lost, 0 double, delivery resumes ≤ 30 s"

    def __init__(self, harness):
        self.harness = harness

    def round(self, name, draw, directory):
        outcome = Outcome()
        redis, broker = revived(self.harness.redis()), revived(self.harness.pulsar())
        proxy = self.harness.proxy("pulsar")
        store = Cluster(redis, broker, directory, name)
        configuration = store.configuration()
        configuration["pulsar"]["devHost"] = f"pulsar://127.0.0.1:{proxy.port}"
        load = Load(self.harness, draw, directory, store, self.deliveries, self.seconds, configuration, outcome)
        delivery = Delivery(load, store, outcome)
        try:
            for kind in self.faults(draw):
                time.sleep(draw.uniform(0, 2))
                self.fault(kind, delivery, proxy, draw)
            wait_until(lambda: delivery.over(), "everything is settled", FINISH, 0.5)
        except BrokerLost as error:
            outcome.faults.clear()
            outcome.missed[str(error)] += 1
            return outcome
        load.finish(again=int(name.rsplit("-", 1)[1]) % 2 == 1)
        return outcome


class PulsarKills(PulsarFaults):
    name = "pulsar-kill"
    title = "SIGKILL of Pulsar under load"
    needed = "Pulsar: SIGKILL"
    rounds, short_rounds = 20, 1
    deliveries, seconds = 20_000, 8

    def faults(self, _draw):
        return ["SIGKILL"]

    def fault(self, kind, delivery, _proxy, draw):
        broker = delivery.store.pulsar
        broker.kill()
        time.sleep(draw.uniform(0, 5))
        broker.restart(180)
        # It forgot what it had handed out.
        delivery.resumed(kind, True, known=0)


class PulsarCuts(PulsarFaults):
    name = "pulsar-cut"
    needed = "Pulsar: cut"
    title = "cuts of the connection to Pulsar, other faults of it, SIGSTOP of Pulsar"
    rounds, short_rounds = 50, 2
    deliveries, seconds = 20_000, 8

    def faults(self, draw):
        """One cut at least."""
        faults = ["cut", draw.choice(["cut", "hang", "delay", "slice", "SIGSTOP"])]
        draw.shuffle(faults)
        return faults

    def fault(self, kind, delivery, proxy, draw):
        seconds = draw.uniform(1, 15 if kind == "SIGSTOP" else 8)
        hit = broken(delivery.store.pulsar, proxy, kind, seconds, draw)
        delivery.resumed(kind, hit.something)


class Delivery:
    """What the broker hands out, and that it arrives."""

    def __init__(self, load, store, outcome):
        self.load, self.store, self.outcome = load, store, outcome
        # Topics that were taken away.
        self.deleted = set()

    def over(self):
        """Whether nothing is left to settle; meanwhile does what an operator has to where Pulsar lost a topic beside."""
        name = self.store.topic.rsplit("/", 1)[1]
        for topic in self.store.pulsar.unreadable() - self.deleted:
            if topic == name:
                raise BrokerLost("SIGKILL after which Pulsar could not open the topic")
            if topic.startswith(name + "-"):
                self.store.pulsar.delete(topic)
                self.deleted.add(topic)
                self.outcome.fault("topic beside that Pulsar could not open after SIGKILL, and was deleted")
        return not self.load.alive()

    def handed_out(self):
        """0 where the broker does not know the topic yet."""
        subscriptions = (self.store.pulsar.stats(self.store.topic) or {}).get("subscriptions", {})
        return subscriptions.get("workers", {}).get("msgOutCounter", 0)

    def waiting(self):
        """Whether there is something to deliver."""
        return self.load.flowing() or bool(self.store.pulsar.backlog(self.store.topic, "workers"))

    def resumed(self, kind, met, known=None):
        """Measures, from now on, until the broker has handed out more and a batch was applied after that.

        What pulsehub held already is applied without the broker, so applying alone proves nothing.
        """
        began = time.monotonic()
        if known is None:
            known = self.handed_out()
        if not self.outcome.fault(f"Pulsar: {kind}", met and self.waiting()):
            return
        try:
            wait_until(lambda: self.over() or self.handed_out() != known, "Pulsar delivers", GIVE_UP)
            self.load.grown(self.load.sequence(), GIVE_UP)
        except TimeoutError as error:
            self.outcome.problems.append(f"after {kind} of Pulsar: {error}")
        # Where a topic has to be deleted by hand, delivery does not resume by itself.
        limit = None if self.deleted else RESUME
        self.outcome.took(f"delivery resumed after {kind}", time.monotonic() - began, limit)
