"""Invents an archive: pull requests that meet again and again, with repeated and late events, from a seed."""

import gzip
import json
import random

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

START = datetime(2026, 3, 10, tzinfo=timezone.utc)
# Late ones reach back into the year before.
YEARS = (2025, 2026)
LANGUAGES = ("C", "Go", "Java", "Lua", "Python", "Rust", "TypeScript", None)
ACTIONS = ("opened", "closed", "merged", "merged (no sizes)", "reopened", "synchronize")
WEIGHTS = (40, 20, 25, 8, 4, 3)


@dataclass
class Archive:
    """What was written, and where."""

    files: list
    deliveries: int
    distinct: int


def write(directory: Path, seed: int, deliveries: int, files=4, span=timedelta(days=3), repeated=0.3, late=0.05):
    """Writes `deliveries` events, of which `repeated` were there before and `late` happened up to 400 days earlier."""
    draw = random.Random(seed)
    directory.mkdir(parents=True, exist_ok=True)
    lines, distinct = [], []
    for index in range(deliveries):
        if distinct and draw.random() < repeated:
            # Half of them come soon after the first time, the others at any time.
            near = min(len(distinct), 200) if draw.random() < 0.5 else len(distinct)
            lines.append(distinct[-draw.randint(1, near)])
            continue
        happened = START + span * (index / deliveries)
        if draw.random() < late:
            happened -= timedelta(seconds=draw.randint(3_600, 400 * 86_400))
        distinct.append(event(draw, 50_000_000_000 + index, happened, deliveries))
        lines.append(distinct[-1])
    paths = []
    for number in range(files):
        part = lines[number * deliveries // files : (number + 1) * deliveries // files]
        paths.append(directory / f"{number}.json.gz")
        with gzip.open(paths[-1], "wt", compresslevel=1) as file:
            file.write("\n".join(part) + "\n")
    return Archive(paths, deliveries, len(distinct))


def event(draw, number, happened, deliveries):
    """One event's line. What is said of a pull request is decided by its id, whichever event says it."""
    body = {
        "id": str(number),
        "type": "PullRequestEvent",
        "actor": {"id": draw.randrange(deliveries // 5), "login": "someone"},
        "created_at": happened.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "public": True,
    }
    if draw.random() < 0.1:
        body |= {"type": "WatchEvent", "repo": {"id": 1, "name": "a/b"}, "payload": {"action": "started"}}
        return json.dumps(body)
    pull_request = 7_000_000 + draw.randrange(deliveries // 4)
    repository = pull_request % (deliveries // 10)
    body["repo"] = {"id": repository, "name": f"someone/r{repository}"}
    action = draw.choices(ACTIONS, WEIGHTS)[0]
    merged = action.startswith("merged")
    said = {
        "id": pull_request,
        "merged": merged,
        "base": {"repo": {"language": LANGUAGES[repository % len(LANGUAGES)]}},
    }
    if action != "merged (no sizes)":
        said |= {"additions": pull_request % 997, "deletions": pull_request % 89}
    body["payload"] = {"action": "closed" if merged else action, "pull_request": said}
    return json.dumps(body)
