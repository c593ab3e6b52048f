"""The closing table: a line a protocol, with what was done and what became of it."""

from outcome import Outcome

HEAD = "| protocol | rounds | goal | events | duplicates delivered | faults that hit | missed | longest | result |"
RULE = "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"


def row(protocol, outcomes):
    total = Outcome()
    for outcome in outcomes:
        total.add(outcome)
    failed = sum(bool(outcome.problems) for outcome in outcomes)
    faults = ", ".join(f"{count} × {kind}" for kind, count in sorted(total.faults.items()))
    longest = ", ".join(measured(what, value) for what, value in sorted(total.longest.items()))
    result = "no round" if not outcomes else f"{failed} FAILED" if failed else "0 lost, 0 double"
    cells = [
        protocol.title,
        f"{len(outcomes)} of {protocol.rounds}",
        protocol.goal,
        f"{total.events:,}",
        f"{total.duplicates:,}",
        faults or "none",
        str(sum(total.missed.values())),
        longest or "",
        result,
    ]
    return "| " + " | ".join(cells) + " |"


def measured(what, value):
    """Seconds, unless the name says what it is."""
    return f"{what} {value:.3g}" + ("" if what.endswith(("MiB", "share")) else " s")
