"""What the counters must be, recounted from the input files by the program in `tests/oracle`."""

import importlib.util

from pathlib import Path

import events

PLACE = Path(__file__).resolve().parent.parent / "oracle" / "recount.py"


def load():
    spec = importlib.util.spec_from_file_location("recount", PLACE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


recount = load()


def expected(files, without=()):
    """Year -> report, and the languages over all files; some events left out, by identity."""
    counter = recount.Recount()
    for path in files:
        for line in recount.lines(path):
            for event in recount.events(line):
                if not without or recount.identity_of(event) not in without:
                    counter.deliver(event)
    return {year: counter.report(year, False) for year in events.YEARS} | {"language": dict(counter.languages)}


def differences(wanted, found):
    """One line for each number that differs."""
    return list(walk("", wanted, found))


def outside(least, found, most):
    """One line for each number that is less or more than it may be."""
    return list(below("least", least, found)) + list(below("most", found, most))


def below(name, small, large, path=""):
    """Numbers of `small` that are larger in it than in `large`, where what is missing is 0."""
    for key, value in small.items():
        other = (large or {}).get(key)
        if isinstance(value, dict):
            yield from below(name, value, other, f"{path} {key}".strip())
        elif value > (other or 0) and key != "year":
            yield f"{path} {key}: {value} > {other or 0}, which is the {'found' if name == 'least' else 'most'}"


def walk(path, wanted, found):
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in sorted(wanted.keys() | found.keys(), key=str):
            yield from walk(f"{path} {key}".strip(), wanted.get(key), found.get(key))
    elif wanted != found:
        yield f"{path}: {found} instead of {wanted}"
