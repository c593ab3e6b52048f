"""Redis killed under load, twice, and what stands between it and pulsehub paused or broken meanwhile."""

import time

from links import broken
from load import Load, revived
from outcome import Outcome
from redis_tail import restart
from stores import Cluster

# Seconds that Redis may take to be applied to again.
RESUME = 60


class RedisKills:
    """A round is one archive into an empty Redis behind Pulsar, all that is said to Redis through a proxy."""

    name = "redis-kill"
    title = "SIGKILL and SIGSTOP of Redis under load, faults of the way to it"
    goal = "0 lost, 0 double"
    needed = "SIGKILL of Redis"
    rounds, short_rounds = 50, 1

    def __init__(self, harness):
        self.harness = harness

    def round(self, name, draw, directory):
        outcome = Outcome()
        number = int(name.rsplit("-", 1)[1])
        redis, proxy = revived(self.harness.redis()), self.harness.proxy("redis")
        store = Cluster(redis, revived(self.harness.pulsar()), directory, name)
        configuration = store.configuration() | {"redis": {"host": f"127.0.0.1:{proxy.port}"}}
        load = Load(self.harness, draw, directory, store, 20_000, 10, configuration, outcome)
        killed(redis, load, draw, outcome)
        loaded = load.applying()
        hit = broken(redis, proxy, draw.choice(["SIGSTOP", "cut", "hang", "delay", "slice"]), draw.uniform(1, 8), draw)
        outcome.fault(f"Redis: {hit.kind}", loaded and hit.something)
        outcome.took("applied again after the way to Redis was whole", load.grown(load.sequence(), RESUME))
        killed(redis, load, draw, outcome)
        load.finish(again=number % 2 == 1)
        return outcome


def killed(redis, load, draw, outcome):
    time.sleep(draw.uniform(0, 2))
    outcome.fault("SIGKILL of Redis", load.applying())
    redis.kill()
    time.sleep(draw.uniform(0, 2))
    restart(redis, outcome)
    outcome.took("applied again after Redis was back", load.grown(load.sequence(), RESUME))
