"""What can go wrong during a soak: every engine, the way to it, and every process, several at a time."""

import signal
import threading
import time
import traceback

from redis_tail import restart

# Seconds that an engine may take until it answers again.
PATIENCE = 180


class Faults:
    """One fault after the other, each in a thread of its own. What is hit already is left alone until it is well."""

    def __init__(self, harness, outcome, draw, start, lasting):
        self.harness, self.outcome, self.draw, self.start, self.lasting = harness, outcome, draw, start, lasting
        self.lock = threading.Lock()
        self.busy = {}
        # Whether something did not come back: nothing more can be learnt then.
        self.broken = False
        # Kind, what it hits, how often in relation to the others.
        self.kinds = [
            (self.kill_worker, "worker", 4),
            (self.kill_source, "source", 4),
            (self.pause_worker, "worker", 2),
            (self.pause_lasting, "lasting", 2),
            (self.kill_redis, "redis", 4),
            (self.pause_redis, "redis", 2),
            (self.kill_mariadb, "mariadb", 3),
            (self.pause_mariadb, "mariadb", 2),
            (self.pause_pulsar, "pulsar", 2),
        ]
        if not harness.short:
            # It takes 15 s and more, in which everything waits.
            self.kinds.append((self.kill_pulsar, "pulsar", 0.4))
        for name in ("redis", "mariadb", "pulsar"):
            for mode in ("cut", "hang", "delay", "slice"):
                self.kinds.append((self.network(name, mode), f"the way to {name}", 1))

    def one(self):
        """Begins a fault of something that is well, and returns."""
        kinds = [kind for kind in self.kinds if kind[1] not in self.busy or not self.busy[kind[1]].is_alive()]
        if not kinds:
            return
        kind, target, _ = self.draw.choices(kinds, [weight for *_, weight in kinds])[0]
        # Drawn here: a generator belongs to one thread.
        arguments = [self.draw.random(), self.draw.random()]
        self.busy[target] = threading.Thread(target=self.run, args=[kind, *arguments], daemon=True)
        self.busy[target].start()

    def heal(self):
        """Returns once everything is well again."""
        for thread in self.busy.values():
            thread.join(PATIENCE)

    def run(self, kind, *drawn):
        try:
            name, hit = kind(*drawn)
        except Exception:
            self.broken = True
            with self.lock:
                self.outcome.problems.append(traceback.format_exc())
            return
        with self.lock:
            self.outcome.fault(name, hit)

    def kill_worker(self, wait, _):
        hit = self.killed("the worker", self.start.worker)
        time.sleep(3 * wait)
        self.start.again_worker()
        return "SIGKILL of a worker process", hit

    def kill_source(self, wait, _):
        self.start.count_source()
        hit = self.killed("the second source", self.start.source)
        time.sleep(3 * wait)
        self.start.again_source()
        return "SIGKILL of a second source", hit

    def killed(self, what, product):
        hit = product.kill()
        if not hit:
            with self.lock:
                self.outcome.problems.append(f"{what} had ended by itself: {product.log_file.name}")
        return hit

    def pause_worker(self, wait, _):
        return "SIGSTOP of a worker process", paused(self.start.worker, 1 + 7 * wait)

    def pause_lasting(self, wait, _):
        return "SIGSTOP of the process that lasts", paused(self.lasting, 1 + 7 * wait)

    def kill_redis(self, wait, part):
        """Mostly the end of its file is lost, of which at most the last second, as where power fails."""
        redis = self.harness.redis()
        path, size = redis.append_only_files()[-1], redis.size()
        time.sleep(0.2 + 0.7 * wait)
        redis.kill()
        name = "SIGKILL of Redis"
        grown = redis.append_only_files()[-1] == path and redis.size() > size
        if part < 0.7 and grown:
            redis.tear(size + int(part / 0.7 * (redis.size() - size)))
            name = "SIGKILL of Redis, end of its file lost"
        time.sleep(2 * wait)
        with self.lock:
            restart(redis, self.outcome)
        return name, True

    def kill_mariadb(self, wait, _):
        self.harness.mariadb().kill()
        time.sleep(2 * wait)
        self.harness.mariadb().restart(PATIENCE)
        return "SIGKILL of MariaDB", True

    def kill_pulsar(self, wait, _):
        self.harness.pulsar().kill()
        time.sleep(5 * wait)
        self.harness.pulsar().restart(PATIENCE)
        return "SIGKILL of Pulsar", True

    def pause_redis(self, wait, _):
        return self.pause("redis", 1 + 7 * wait)

    def pause_mariadb(self, wait, _):
        return self.pause("mariadb", 1 + 7 * wait)

    def pause_pulsar(self, wait, _):
        return self.pause("pulsar", 1 + 14 * wait)

    def pause(self, name, seconds):
        service = getattr(self.harness, name)()
        service.pause()
        time.sleep(seconds)
        service.resume()
        return f"SIGSTOP of {NAMES[name]}", True

    def network(self, name, mode):
        proxy = self.harness.proxy(name)

        def fault(wait, part):
            seconds = 0.5 + 7.5 * wait
            if mode == "delay":
                hit = proxy.delay(5 + 495 * part, seconds)
            elif mode == "slice":
                hit = proxy.slice(1 + int(100 * part), seconds)
            else:
                hit = getattr(proxy, mode)(seconds)
            return f"{mode} of the way to {NAMES[name]}", not hit.missed

        return fault


NAMES = {"redis": "Redis", "mariadb": "MariaDB", "pulsar": "Pulsar"}


def paused(product, seconds):
    """SIGSTOP and SIGCONT; whether there was a process to stop."""
    if not product.alive():
        return False
    product.signal(signal.SIGSTOP)
    time.sleep(seconds)
    product.signal(signal.SIGCONT)
    return product.alive()
