#!/usr/bin/env python3
"""Recounts archive files by section 3 of the design: what `pulsehub stats` must say after they were replayed.

    python3 tests/oracle/recount.py --year 2016 [--languages] FILE...

Written against the design, not against the program: keep it that way. FILE is gzip or plain, one event a line;
what is no event is passed over, the events beside it are found. Needs nothing but Python 3.9.
"""

import argparse
import collections
import datetime
import gzip
import io
import json
import re
import sys
import zlib

OUTCOMES = {"opened": "open", "merged": "merge", "closed": "close", "reopened": "reopened"}
MOMENT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.\d+)?([Zz]|[+-]\d\d(?::?\d\d)?)", re.ASCII
)
ENVELOPE = ("id", "type", "actor", "repo", "created_at")
START = re.compile(r'\{"')
# Longer lines are no events; the longest ever seen has 245 KB.
MAX_LINE_BYTES = 16 << 20


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--year", type=int, required=True)
    parser.add_argument("--languages", action="store_true", help="count languages too, over all events")
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()
    recount = Recount()
    for path in arguments.files:
        for line in lines(path):
            for event in events(line):
                recount.deliver(event)
    print(json.dumps(recount.report(arguments.year, arguments.languages), sort_keys=True))


class Recount:
    def __init__(self):
        # Day -> outcome -> pull requests; day -> developers; and so on.
        self.days = collections.defaultdict(lambda: collections.defaultdict(set))
        self.day_developers = collections.defaultdict(set)
        self.year_developers = collections.defaultdict(set)
        self.year_repositories = collections.defaultdict(set)
        self.sums = collections.defaultdict(lambda: [0, 0])
        self.pending = set()
        self.language_events = set()
        self.languages = collections.Counter()

    def deliver(self, event):
        """Counts one delivery of an event; membership in the sets is what makes it count once."""
        identity = identity_of(event)
        if identity is None or event.get("type") != "PullRequestEvent":
            return
        payload = an_object(event.get("payload"))
        pull_request = an_object(payload.get("pull_request"))
        outcome = outcome_of(payload, pull_request)
        number = an_id(pull_request.get("id"))
        actor = an_id(an_object(event.get("actor")).get("id"))
        repository = an_id(an_object(event.get("repo")).get("id"))
        if outcome is None or None in (number, actor, repository):
            return
        language = an_object(an_object(pull_request.get("base")).get("repo")).get("language")
        if isinstance(language, str) and language and identity not in self.language_events:
            self.language_events.add(identity)
            self.languages[language] += 1
        if outcome == "reopened":
            return
        day = EPOCH + datetime.timedelta(days=identity[1] // 86400)
        members = self.days[day][outcome]
        first = number not in members
        members.add(number)
        self.day_developers[day].add(actor)
        self.year_developers[day.year].add(actor)
        self.year_repositories[day.year].add(repository)
        if outcome == "merge":
            self.size(day, number, first, an_id(pull_request.get("additions")), an_id(pull_request.get("deletions")))

    def size(self, day, number, first, additions, deletions):
        """Added with the event that entered merge[D], or with the first later one that brings it."""
        known = additions is not None and deletions is not None
        if known and (first or (day, number) in self.pending):
            self.pending.discard((day, number))
            self.sums[day.year][0] += additions
            self.sums[day.year][1] += deletions
        elif first:
            self.pending.add((day, number))

    def report(self, year, with_languages):
        daily = {}
        for day in sorted(day for day in self.days if day.year == year):
            counts = {name: len(self.days[day][name]) for name in ("open", "merge", "close")}
            counts["event"] = sum(counts.values())
            counts["dev"] = len(self.day_developers[day])
            daily[day.isoformat()] = counts
        additions, deletions = self.sums[year]
        total = {
            "dev": len(self.year_developers[year]),
            "repo": len(self.year_repositories[year]),
            "additions": additions,
            "deletions": deletions,
        }
        report = {"year": year, "daily": daily, "sum": total}
        if with_languages:
            report["language"] = dict(self.languages)
        return report


def identity_of(event):
    """(id, created_at in Unix seconds), or None where either is missing or unreadable."""
    number = event.get("id")
    if isinstance(number, str):
        number = int(number) if re.fullmatch(r"-?[0-9]{1,19}", number) else None
    if not isinstance(number, int) or isinstance(number, bool) or not -(2**63) <= number < 2**63:
        return None
    created_at = event.get("created_at")
    match = MOMENT.fullmatch(created_at) if isinstance(created_at, str) else None
    if match is None:
        return None
    *civil, zone = match.groups()
    year, month, day, hour, minute, second = map(int, civil)
    try:
        days = (datetime.date(year, month, day) - EPOCH).days
        datetime.time(hour, minute, min(second, 59))
    except ValueError:
        return None
    offset = 0
    if zone not in "Zz":
        digits = zone[1:].replace(":", "").ljust(4, "0")
        offset = (int(digits[:2]) * 60 + int(digits[2:])) * (-60 if zone[0] == "-" else 60)
    seconds = days * 86400 + hour * 3600 + minute * 60 + min(second, 59) - offset
    in_calendar = 0 <= seconds // 86400 + EPOCH.toordinal() - 1 < datetime.date.max.toordinal()
    return (number, seconds) if in_calendar else None


def outcome_of(payload, pull_request):
    action = payload.get("action")
    outcome = OUTCOMES.get(action) if isinstance(action, str) else None
    if action == "closed" and pull_request.get("merged") is True:
        return "merge"
    return outcome


def an_object(value):
    return value if isinstance(value, dict) else {}


def an_id(value):
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64 else None


def lines(path):
    """The lines of a file, as far as it can be decompressed."""
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    stream = gzip.open(path, "rb") if zipped else open(path, "rb")
    with stream, io.BufferedReader(Salvaged(stream)) as salvaged:
        yield from salvaged


class Salvaged(io.RawIOBase):
    """Ends where damaged gzip can't be read on, after what could be."""

    def __init__(self, stream):
        self.stream = stream

    def readable(self):
        return True

    def readinto(self, buffer):
        try:
            # Small steps: what was decompressed before the damage is not lost with it.
            data = self.stream.read1(min(len(buffer), 4096))
        except (EOFError, OSError, zlib.error):
            return 0
        buffer[: len(data)] = data
        return len(data)


def events(line):
    """The events of a line: usually one, sometimes none, several, or one behind something damaged."""
    if len(line) > MAX_LINE_BYTES or b"PullRequestEvent" not in line:
        return
    for part in line.split(b"\0"):
        yield from objects(part.decode("utf-8", "surrogateescape").strip(" \t\r\n"))


def objects(text):
    at = 0
    while at < len(text):
        try:
            value, end = DECODER.raw_decode(text, at)
            clean(text[at:end])
        except (ValueError, RecursionError):
            at = next_start(text, at + 1)
            continue
        if isinstance(value, dict):
            yield value
        at = end
        while at < len(text) and text[at] in " \t\r\n":
            at += 1


def next_start(text, at):
    """Where a whole event starts behind something damaged."""
    for match in START.finditer(text, at):
        try:
            value, _ = DECODER.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        if all(name in value for name in ENVELOPE):
            return match.start()
    return len(text)


def clean(text):
    """Bytes that are not UTF-8 were decoded to lone surrogates, which cannot be encoded again."""
    text.encode("utf-8")


def no_constant(name):
    raise ValueError(name + " is not JSON")


DECODER = json.JSONDecoder(parse_constant=no_constant)
EPOCH = datetime.date(1970, 1, 1)

if __name__ == "__main__":
    sys.setrecursionlimit(20_000)
    main()
