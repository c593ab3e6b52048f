#!/usr/bin/env python3
"""Breaks pulsehub and what it stands on, and compares its counters with a recount of what it was fed.

    python3 tests/chaos --binary target/release/pulsehub [--rounds N] [--only NAME,…] [--short]

A round that is done is remembered in target/chaos for this very binary and harness, so that a run can be interrupted and goes on.
Every fault is counted as having really hit; a round in which none did is tried again, and makes the run fail when it
stays so. Needs Python 3.9, and the services that `make test` installs.
"""

import argparse
import fcntl
import os
import random
import shutil
import signal
import sys
import time
import traceback

from collections import Counter
from pathlib import Path

import table
from harness import Harness
from journal import Journal
from kills import OnCluster, OnEmbedded
from mariadb_kills import MariaDBKills
from outcome import Outcome
from pulsar_faults import PulsarCuts, PulsarKills
from redis_kills import RedisKills
from redis_torn import TornTails
from soak import Soak
from terminations import Terminations
from torn_log import FlippedBits, TornLog

PROTOCOLS = [
    OnEmbedded,
    OnCluster,
    RedisKills,
    TornTails,
    TornLog,
    FlippedBits,
    PulsarKills,
    PulsarCuts,
    MariaDBKills,
    Terminations,
    Soak,
]
# What asks for an end, beside Ctrl-C.
ENDING = (signal.SIGTERM, signal.SIGHUP)
# How often a round is tried in which no fault hit.
TRIES = 3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--rounds", type=int, help="rounds of each protocol at most")
    parser.add_argument("--only", help="protocols, separated by commas: " + ", ".join(each.name for each in PROTOCOLS))
    parser.add_argument("--round", type=int, help="this round alone, however often it was done")
    parser.add_argument("--short", action="store_true", help="few and small rounds, as in make test")
    parser.add_argument("--work", type=Path, default=Path("target/chaos"), help="where everything is written")
    arguments = parser.parse_args()
    # An interrupted run ends its processes too.
    for number in ENDING:
        signal.signal(number, end)
    arguments.work.mkdir(parents=True, exist_ok=True)
    lock = open(arguments.work / "lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"another run is at work in {arguments.work}")
    harness = Harness(arguments.binary.resolve(), arguments.work.resolve(), arguments.short)
    journal = Journal(harness.work / ("short.jsonl" if arguments.short else "journal.jsonl"), harness.version())
    try:
        sys.exit(not run(harness, journal, arguments))
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("interrupted: what was done is kept")
        sys.exit(130)
    finally:
        harness.close()


def end(number, _frame):
    """Ends the run in order, whatever comes after: a second signal would leave services behind."""
    for other in (*ENDING, signal.SIGINT):
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)


def run(harness, journal, arguments):
    names = arguments.only.split(",") if arguments.only else [each.name for each in PROTOCOLS]
    unknown = set(names) - {each.name for each in PROTOCOLS}
    if unknown:
        sys.exit("no such protocol: " + ", ".join(sorted(unknown)))
    rows, well = [], True
    for protocol in (each(harness) for each in PROTOCOLS if each.name in names):
        wanted = protocol.short_rounds if harness.short else protocol.rounds
        if arguments.rounds is not None:
            wanted = min(wanted, arguments.rounds)
        numbers = range(wanted) if arguments.round is None else [arguments.round]
        for number in numbers:
            done = journal.done.get((protocol.name, number))
            if not done or done.problems or arguments.round is not None or harness.short:
                journal.note(protocol.name, number, one(harness, protocol, number))
        outcomes = [journal.done[protocol.name, number] for number in numbers]
        well = well and not any(outcome.problems for outcome in outcomes)
        rows.append(table.row(protocol, outcomes))
    print(f"\n{os.cpu_count()} cores, {memory_gib()} GiB\n")
    print("\n".join([table.HEAD, table.RULE, *rows]))
    return well


def one(harness, protocol, number):
    """A round, tried again where nothing broke in it. Its directory stays where it failed."""
    missed = Counter()
    for attempt in range(TRIES):
        name = f"{protocol.name}-{number}"
        directory = harness.make(harness.work / name)
        began = time.monotonic()
        try:
            outcome = protocol.round(name, random.Random(f"{name} {attempt}"), directory)
        except Exception:
            outcome = Outcome(problems=[traceback.format_exc()])
        # Not where the run is to end: nothing is started then that has to be stopped again.
        harness.end_round()
        missed += outcome.missed
        if outcome.valid(protocol.needed) or outcome.problems:
            break
    if not (outcome.valid(protocol.needed) or outcome.problems):
        outcome.problems.append(f"{protocol.needed}: no hit in {TRIES} tries")
    outcome.missed = missed
    faults = ", ".join(f"{count} × {kind}" for kind, count in sorted(outcome.faults.items()))
    print(f"{name}: {'FAILED' if outcome.problems else 'ok'} in {time.monotonic() - began:.1f} s: {faults}", flush=True)
    if outcome.problems:
        print("  " + "\n  ".join(outcome.problems[:20]))
        print(f"  what was written is in {directory}; again with --only {protocol.name} --round {number}", flush=True)
    else:
        shutil.rmtree(directory)
    return outcome


def memory_gib():
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


if __name__ == "__main__":
    main()
