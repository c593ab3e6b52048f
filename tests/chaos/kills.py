"""SIGKILL of pulsehub at random moments of a replay; then it is let finish, and the counters are compared."""

import json
import random
import re
import time

import oracle
from outcome import Outcome
from product import Pulsehub, Serving
from stores import Cluster, Embedded

# Seconds that a process may take until it greets front ends again.
SERVING = 5
# Seconds that what is left may take.
FINISH = 180


class Kills:
    """A round is one archive into empty stores, with two to four kills on the way."""

    rounds, short_rounds = 200, 5
    needed = "SIGKILL of pulsehub"
    goal = "0 lost, 0 double, every counter equal; serving again ≤ 5 s"

    def __init__(self, harness):
        self.harness = harness
        # Seconds that the same archive takes without a kill: where in it kills can hit.
        self.undisturbed = None

    def round(self, name, draw, directory):
        if self.undisturbed is None:
            draws = random.Random(f"{self.name} control")
            control = self.replayed(f"{name}-control", draws, self.harness.make(directory / "control"), 0)
            if control.problems:
                return control
            self.undisturbed = control.longest["last replay"]
        return self.replayed(name, draw, directory, draw.randint(2, 4))

    def replayed(self, name, draw, directory, kills):
        outcome = Outcome()
        archive, wanted = self.harness.archive(draw)
        outcome.events = archive.deliveries
        store = self.store(name, directory)
        config = directory / "config.yaml"
        window = draw.choice(["48h", "0s"])
        config.write_text(json.dumps(store.configuration() | {"dedup": {"window": window}}))
        start = Starter(self.harness.binary, config, directory, archive.files)
        colleague = start.colleague() if self.colleague else None
        published, left = 0, self.undisturbed
        for _ in range(kills):
            # Some hit the start, the others what is left to do.
            moment = draw.uniform(0, draw.choice([0.1, left]))
            left = max(0.1, left - moment)
            replay = start.replay()
            serving = Serving(replay)
            time.sleep(moment)
            published += int(replay.metrics().get("pulsehub_events_published_total", 0))
            if colleague and draw.random() < 0.5:
                outcome.fault("SIGKILL of a second worker process", colleague.kill())
                colleague = start.colleague()
            hit = outcome.fault("SIGKILL of pulsehub", replay.kill())
            if not hit and replay.process.returncode != 0:
                ended = replay.process.returncode
                outcome.problems.append(f"a replay ended by itself with {ended}: {replay.log()[-500:]}")
            outcome.took("serving again", serving.seconds, SERVING)
        last = start.replay()
        serving = Serving(last)
        code = last.wait(FINISH)
        if code != 0 or serving.seconds is None:
            outcome.problems.append(f"the last replay ended with {code}: {last.log()[-500:]}")
            return outcome
        if kills:
            outcome.took("serving again", serving.seconds, SERVING)
        outcome.took("last replay", time.monotonic() - last.started)
        if colleague:
            colleague.process.terminate()
            if colleague.wait(30) != 0:
                outcome.problems.append("the second worker process did not end well")
        published += summarised(last.log())
        delivered = store.delivered()
        outcome.duplicates = max(0, (published if delivered is None else delivered) - archive.distinct)
        outcome.problems += oracle.differences(wanted, store.counters(config))
        store.close()
        return outcome


class OnEmbedded(Kills):
    name = "kill-embedded"
    title = "SIGKILL of pulsehub, embedded stores"
    colleague = False

    def store(self, _name, directory):
        return Embedded(self.harness.binary, directory)


class OnCluster(Kills):
    name = "kill-cluster"
    title = "SIGKILL of pulsehub, Pulsar + Redis"
    colleague = True

    def store(self, name, directory):
        return Cluster(self.harness.redis(), self.harness.pulsar(), directory, name)


class Starter:
    """Starts the processes of a round, each with a log of its own."""

    def __init__(self, binary, config, directory, files):
        self.binary, self.config, self.directory, self.files = binary, config, directory, files
        self.count = 0

    def start(self, name, *arguments):
        self.count += 1
        return Pulsehub(self.binary, self.config, arguments, self.directory / f"{self.count:02}-{name}.log")

    def replay(self, *flags):
        """Reads the archive from where the last one stood, and ends once all of it is settled."""
        return self.start("replay", "replay", "--exit", *flags, *self.files)

    def colleague(self):
        """A second worker on the same subscription."""
        return self.start("work", "run", "--roles", "work")


def summarised(log):
    """What a replay that ended by itself says that it published."""
    found = re.search(r"replayed in .* published=(\d+)", log)
    return int(found.group(1)) if found else 0
