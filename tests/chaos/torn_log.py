"""Torn tails and flipped bits in the embedded log and in the state's journal, each with two restarts behind it."""

import json
import os
import re
import shutil
import subprocess
import time

import oracle
from embedded_files import Journal, TopicLog, flip
from kills import FINISH, Starter
from outcome import Outcome
from product import GLANCE
from stores import Embedded

# (events, --speed): records of an event or two, for seconds; or, in one round of four, records of hundreds that are
# published long before they are applied.
STEADY, RUSH = (2_000, 64_800), (20_000, "max")
# Of one round.
DAMAGES = 5


class Damages:
    """A round is one archive: run, kill, damage, and so on; run to the end; and all of it once more."""

    def __init__(self, harness):
        self.harness = harness

    def round(self, name, draw, directory):
        outcome = Outcome()
        deliveries, speed = RUSH if draw.random() < 0.25 else STEADY
        archive, wanted = self.harness.archive(draw, deliveries)
        outcome.events = 2 * archive.deliveries
        run = Run(self.harness.binary, directory, archive, speed)
        self.number = int(name.rpartition("-")[2]) * DAMAGES
        for _ in range(DAMAGES):
            # Sometimes a start itself is cut short, before it repaired anything or while it does.
            if draw.random() < 0.2:
                run.cut_short(draw.uniform(0, 0.5))
            if not run.interrupted(draw):
                outcome.fault("a replay that ended too early to be damaged", hit=False)
                break
            self.damage(run, draw, outcome)
            self.number += 1
        # The first restart after the last damage; the next is the second.
        run.interrupted(draw)
        run.finish(outcome)
        found = run.counters()
        outcome.problems += oracle.outside(oracle.expected(archive.files, without=run.lost), found, wanted)
        outcome.problems += run.unnoticed()
        run.again(outcome)
        outcome.problems += oracle.differences(wanted, run.counters())
        outcome.duplicates = run.published - archive.distinct
        return outcome


class TornLog(Damages):
    name = "torn-log"
    needed = "torn tail"
    title = "torn tails of the embedded log and state, two restarts each"
    goal = "nothing lost but what was torn away, that back after redelivery; 0 double"
    rounds, short_rounds = 105, 3

    def damage(self, run, draw, outcome):
        rush = ["half", "half", "half", "last record", "state"]
        steady = ["last record", "last record", "last record", "records", "half", "state", "state"]
        kind = draw.choice(rush if run.speed == "max" else steady)
        journal = run.journal
        end = journal.end()
        # Empty where everything ended before its first sync.
        if kind == "state" and end:
            journal.cut(end - draw.randint(1, min(400, end)), zeros=draw.random() < 0.5)
            outcome.fault("torn tail of the state's journal")
            return
        records = run.log.records()
        if not records:
            outcome.fault("torn tail of a log without a whole record", hit=False)
            return
        # Further back than the cursor, which may be a few records behind.
        furthest = {"records": 20, "half": len(records)}.get(kind, 1)
        several = draw.randint(1, min(furthest, len(records)))
        start, end = records[-several]
        offset = start + self.number % (end - start)
        run.lose(start, records[-1][1])
        run.log.cut(offset)
        if offset > start:
            run.must_say(rf"cut off the log's torn tail .*bytes={offset - start}\b")
        outcome.fault("torn tail of the log" + (", several records" if several > 1 else ""))


class FlippedBits(Damages):
    name = "flipped-bits"
    needed = "flipped bit"
    title = "flipped bits in the embedded log and state"
    goal = "each noticed, nothing lost but what it was in, 0 double"
    rounds, short_rounds = 25, 1

    def damage(self, run, draw, outcome):
        kind = draw.choice(["log", "log", "journal", "tables"])
        if kind == "log":
            self.in_log(run, draw, outcome)
        else:
            self.in_state(run, draw, outcome, kind)

    def in_log(self, run, draw, outcome):
        records, damaged = run.log.records(), run.log.damaged
        # Two in a row are skipped as one.
        whole = [
            (start, end)
            for (before, _), (start, end) in zip(records, records[1:])
            if not {before, start, end} & damaged.keys()
        ]
        if not whole:
            outcome.fault("flipped bit in a log of one record", hit=False)
            return
        start, end = draw.choice(whole)
        run.lose(start, end)
        flip(run.log.segment(), draw.randrange(8 * start, 8 * end))
        if end == records[-1][1]:
            # Where nothing whole follows it is a torn tail.
            run.must_say(rf"cut off the log's torn tail .*bytes={run.log.size() - start}\b")
        else:
            damaged[start] = end
            run.must_say(rf"skipped a damaged record of the log .*byte={start}\b")
        outcome.fault("flipped bit in the log")

    def in_state(self, run, draw, outcome, kind):
        path, size = run.journal.path(), run.journal.end()
        if kind == "tables":
            paths = sorted(path for path in run.journal.directory.glob("keyspaces/**/*") if path.is_file())
            path = draw.choice([path for path in paths if path.stat().st_size])
            size = path.stat().st_size
        if not size:
            outcome.fault("flipped bit in an empty journal", hit=False)
            return
        kept = run.keep()
        flip(path, draw.randrange(8 * size))
        said, code = run.started()
        # What the log says of its own damages does not count.
        said = [line for line in said.splitlines() if "/topic/" not in line]
        noticed = code not in (None, 0) or any(re.search("damaged|torn tail|corrupt", line) for line in said)
        if kind == "journal":
            outcome.fault("flipped bit in the state's journal")
            if not noticed:
                outcome.problems.append(f"a flipped bit in {path.name} of the state was not noticed")
        else:
            # Much of these is of no use any more, and nobody reads it.
            outcome.fault("flipped bit in the state's tables", hit=bool(noticed))
        if code is not None:
            # It does not start on it: the operator puts back what was saved.
            run.restore(kept)


class Run:
    """The processes of a round, its files, and what may be missing."""

    def __init__(self, binary, directory, archive, speed):
        self.directory, self.archive, self.speed = directory, archive, speed
        self.store = Embedded(binary, directory)
        self.config = directory / "config.yaml"
        self.config.write_text(json.dumps(self.store.configuration() | {"dedup": {"window": "0s"}}))
        self.start = Starter(binary, self.config, directory, archive.files)
        self.log, self.journal = TopicLog(directory / "data"), Journal(directory / "data")
        # Identities of events that were in what was damaged.
        self.lost = set()
        self.expected, self.logs, self.published = [], [], 0

    def replay(self, *flags):
        replay = self.start.replay(*flags)
        self.logs.append(replay)
        return replay

    def cut_short(self, seconds):
        replay = self.replay("--speed", self.speed)
        time.sleep(seconds)
        self.ended(replay)

    def interrupted(self, draw):
        """A start that goes on where the last one stood, killed a moment after it wrote something; whether it was."""
        before = self.log.size()
        replay = self.replay("--speed", self.speed)
        # A torn log is first cut further.
        lowest = before
        end = time.monotonic() + FINISH
        while replay.alive() and time.monotonic() < end:
            size = self.log.size()
            if size > lowest:
                break
            lowest = size
            time.sleep(GLANCE / 5)
        time.sleep(draw.choice([0, draw.uniform(0, 0.02), draw.uniform(0, 0.2)]))
        return self.ended(replay)

    def ended(self, replay):
        self.published += int(replay.metrics().get("pulsehub_events_published_total", 0)) if replay.alive() else 0
        return replay.kill()

    def started(self):
        """What a start says, and its exit code; `None` where it runs."""
        replay = self.replay("--speed", self.speed)
        try:
            replay.announced("http://", "/metrics")
            return replay.log(), replay.process.poll()
        finally:
            if not self.ended(replay):
                replay.process.wait()

    def finish(self, outcome):
        last = self.replay()
        if last.wait(FINISH) != 0:
            outcome.problems.append("the last replay did not end well")

    def again(self, outcome):
        """The same events in files of other names."""
        files = [self.directory / f"again-{path.name}" for path in self.archive.files]
        for path, name in zip(self.archive.files, files):
            os.link(path, name)
        self.start.files = files
        self.finish(outcome)
        self.published += self.archive.deliveries

    def counters(self):
        return self.store.counters(self.config)

    def lose(self, start, end):
        """What the records between two places hold is excused, unless a whole record before them has it too."""
        self.lost |= self.identities(start, end) - {
            identity
            for first, last in self.log.records()
            if last <= start and first not in self.log.damaged
            for identity in self.identities(first, last)
        }

    def identities(self, start, end):
        return {oracle.recount.identity_of(event) for event in self.log.events(start, end)}

    def must_say(self, pattern):
        """Expects it in the log of a start from now on."""
        self.expected.append((len(self.logs), pattern))

    def unnoticed(self):
        return [
            f"no start said {pattern!r}"
            for first, pattern in self.expected
            if not any(re.search(pattern, replay.log()) for replay in self.logs[first:])
        ]

    def keep(self):
        kept = self.directory / "kept"
        shutil.rmtree(kept, ignore_errors=True)
        # The journal is mostly a hole.
        subprocess.run(["cp", "-a", "--sparse=always", str(self.directory / "data"), str(kept)], check=True)
        return kept

    def restore(self, kept):
        shutil.rmtree(self.directory / "data")
        kept.rename(self.directory / "data")
