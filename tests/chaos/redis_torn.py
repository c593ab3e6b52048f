"""Redis killed under load with the end of its append-only file torn off, twice, and redelivery in between."""

import time

from load import Load, revived
from outcome import Outcome
from redis_tail import Tail, restart
from stores import Cluster, RedisOnly

# Seconds that Redis may take to be applied to again.
RESUME = 60


class TornTails:
    """A round is one archive into an empty Redis, behind the embedded log or, every tenth time, Pulsar."""

    name = "redis-torn"
    title = "torn tails of Redis' append-only file, two restarts each"
    goal = "0 lost, 0 double after redelivery"
    needed = "torn tail of Redis"
    rounds, short_rounds = 200, 2

    def __init__(self, harness):
        self.harness = harness

    def round(self, name, draw, directory):
        outcome = Outcome()
        number = int(name.rsplit("-", 1)[1])
        redis = revived(self.harness.redis())
        if number % 10 == 9:
            store = Cluster(redis, revived(self.harness.pulsar()), directory, name)
        else:
            store = RedisOnly(redis, directory)
        # What lies in Redis from the round before is not torn back into life.
        tail = Tail(redis)
        load = Load(self.harness, draw, directory, store, 20_000, 6, store.configuration(), outcome)
        time.sleep(draw.uniform(0, 4))
        tail = torn(tail, load, draw, outcome)
        moment = draw.choice(["at once", "rewriting", "redelivered", "later"])
        if moment == "at once":
            # Mostly before anything may be applied.
            time.sleep(draw.uniform(0, 0.3))
        elif moment == "rewriting":
            tail.rewriting(RESUME)
        elif moment == "redelivered":
            # Part of what was torn is there again, the rest not.
            load.grown(load.sequence(), RESUME)
            time.sleep(draw.uniform(0, 0.1))
        else:
            time.sleep(draw.uniform(0.3, 3))
        tail = torn(tail, load, draw, outcome)
        outcome.took("applied again after Redis was back", load.grown(load.sequence(), RESUME))
        tail.over.set()
        load.finish(again=number % 2 == 1)
        return outcome


def torn(tail, load, draw, outcome):
    """One kill, tear and restart; a third of the time pulsehub is killed with it, as where both share a machine."""
    redis = tail.redis
    both = draw.random() < 1 / 3
    tail.kill(outcome)
    if both:
        load.kill()
    known = redis.tears_found()
    tore = tail.tear(draw, outcome)
    time.sleep(draw.uniform(0, 0.5))
    restart(redis, outcome)
    again = Tail(redis)
    if tore:
        outcome.fault("torn tail of Redis: found at its start", redis.tears_found() > known)
    if both:
        load.resume()
    return again
