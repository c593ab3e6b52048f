"""SIGKILL of MariaDB while workers write their rows; nothing is settled without its row, and no row comes twice."""

import json
import time

import oracle
from history import WithHistory
from kills import FINISH, SERVING, Starter
from outcome import Outcome
from product import GLANCE, Serving

WRITTEN = "pulsehub_history_rows_written_total"
# Seconds until rows are written again, from the moment at which it answers.
RESUMED = 30


class MariaDBKills:
    """A round is one archive into empty stores, with one to three kills on the way; in some pulsehub goes too."""

    name = "mariadb-kill"
    title = "SIGKILL of MariaDB, history written"
    goal = f"0 lost, 0 double, every row there once; rows are written again ≤ {RESUMED} s"
    needed = "SIGKILL of MariaDB"
    rounds, short_rounds = 10, 1

    def __init__(self, harness):
        self.harness = harness

    def round(self, name, draw, directory):
        outcome = Outcome()
        archive, wanted = self.harness.archive(draw)
        outcome.events = archive.deliveries
        store = WithHistory(self.harness, directory, name)
        config = directory / "config.yaml"
        config.write_text(json.dumps(store.configuration() | {"dedup": {"window": draw.choice(["48h", "0s"])}}))
        start = Starter(self.harness.binary, config, directory, archive.files)
        replay = start.replay()
        for share in sorted(draw.uniform(0, 0.9) for _ in range(draw.randint(1, 3))):
            if written(replay, share * (archive.distinct - store.rows())) is None:
                outcome.fault("SIGKILL of MariaDB", hit=False)
                break
            time.sleep(draw.uniform(0, 0.1))
            store.mariadb.kill()
            time.sleep(draw.uniform(0, 3))
            # It has to begin, and to serve, without history too.
            if draw.random() < 0.3:
                outcome.fault("SIGKILL of pulsehub without MariaDB", replay.kill())
                replay = start.replay()
                serving = Serving(replay)
                serving.thread.join(SERVING)
                outcome.took("serving again", serving.seconds or SERVING + 1, SERVING)
            store.mariadb.restart()
            began, before = time.monotonic(), replay.metrics().get(WRITTEN, 0)
            resumed = written(replay, before + 1)
            # Without a row afterwards there was nothing left to write.
            outcome.fault("SIGKILL of MariaDB", resumed is not None)
            if resumed is not None:
                outcome.took("rows written again", resumed - began, RESUMED)
        if replay.wait(FINISH) != 0:
            outcome.problems.append("the last replay did not end well")
        outcome.duplicates = max(0, store.delivered() - archive.distinct)
        outcome.problems += oracle.differences(wanted, store.counters(config)) + store.problems(archive, config)
        store.close()
        return outcome


def written(replay, rows, patience=FINISH):
    """The moment at which a process has written so many rows; `None` where it ended before."""
    end = time.monotonic() + patience
    while replay.alive():
        if replay.metrics().get(WRITTEN, 0) >= rows:
            return time.monotonic()
        if time.monotonic() > end:
            raise TimeoutError(f"no {rows} rows in {patience} s")
        time.sleep(GLANCE)
    return None
