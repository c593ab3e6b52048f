"""The end of Redis' append-only file: what of it a machine that loses power may lose, and its loss."""

import subprocess
import threading
import time

from collections import deque

from services import ServiceError, wait_until

# Seconds of writes that `appendfsync everysec` may lose. pulsehub settles two seconds after it applied (settleDelay).
UNSYNCED = 1.0
GLANCE = 0.02
MULTI, EXEC = b"*1\r\n$5\r\nMULTI\r\n", b"*1\r\n$4\r\nEXEC\r\n"


class Tail:
    """Watches how the file grows in one run of Redis. What stood in it when this began is never torn."""

    def __init__(self, redis):
        self.redis = redis
        # (moment, file, size)
        self.samples = deque([self.sample()], maxlen=500)
        self.began = redis.append_only_files()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def sample(self):
        path = self.redis.append_only_files()[-1]
        return time.monotonic(), path, path.stat().st_size

    def watch(self):
        while not self.over.wait(GLANCE):
            try:
                self.samples.append(self.sample())
            except OSError:
                # Between two files.
                continue

    def rewriting(self, seconds):
        """Waits until Redis rewrites its file, or has done so: that takes some milliseconds."""
        wait_until(lambda: self.redis.append_only_files() != self.began, "Redis rewrites its file", seconds, 0.0005)

    def kill(self, outcome):
        """SIGKILL of Redis; the file is then as its kernel has it."""
        self.killed = time.monotonic()
        hit = self.redis.alive()
        self.redis.kill()
        self.over.set()
        self.thread.join()
        self.files = self.redis.append_only_files()
        self.size = self.files[-1].stat().st_size
        outcome.fault("SIGKILL of Redis", hit)
        outcome.fault("SIGKILL of Redis: while it rewrote its file", len(self.files) > 1 and self.files != self.began)

    def floor(self):
        """What has been synced for certain."""
        since = [sample for sample in self.samples if sample[0] >= self.killed - UNSYNCED] or [self.samples[-1]]
        _, path, size = since[0]
        # A file that began within that time has nothing that was.
        return size if path == self.files[-1] else 0

    def tear(self, draw, outcome):
        """Cuts the file where nothing was synced yet, half of the time inside the last transaction. Whether that hit."""
        floor = self.floor()
        with open(self.files[-1], "rb") as file:
            file.seek(floor)
            data = file.read()
        first = 0
        transaction = data.rfind(MULTI)
        if transaction >= 0 and draw.random() < 0.5:
            first = transaction + 1
        if not outcome.fault("torn tail of Redis", hit=first < len(data)):
            return False
        kept = draw.randrange(first, len(data))
        self.redis.tear(floor + kept)
        # Where the last transaction that was begun before has no end.
        inside = data.rfind(MULTI, 0, kept + len(MULTI) - 1) > data.rfind(EXEC, 0, kept)
        outcome.fault("torn tail of Redis: inside MULTI…EXEC", inside)
        return True


def restart(redis, outcome):
    """Starts Redis again, as its operator does where Redis 7.0 won't.

    Of a command torn in a transaction it takes the rest of the file away, but leaves the transaction open; killed in
    the rewrite that follows, it finds that file torn that is not the last any more, and gives up.
    """
    try:
        redis.restart()
    except ServiceError as error:
        if "the truncated file is not the last file" not in str(error):
            raise
        outcome.fault("start that Redis refused until redis-check-aof --fix")
        for path in redis.append_only_files()[:-1]:
            subprocess.run(
                ["redis-check-aof", "--fix", str(path)], input=b"y\n", stdout=subprocess.DEVNULL, check=True, timeout=60
            )
        redis.restart()
