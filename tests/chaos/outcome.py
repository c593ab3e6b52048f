"""What one round of a protocol came to."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Outcome:
    events: int = 0
    # Deliveries beyond an event's first that are known to have reached the broker.
    duplicates: int = 0
    # Faults that really hit, by kind.
    faults: Counter = field(default_factory=Counter)
    # Faults that found nothing to hit.
    missed: Counter = field(default_factory=Counter)
    # The longest, by what recovered: seconds, or a share where the name says so.
    longest: dict = field(default_factory=dict)
    # Empty when everything is as promised.
    problems: list = field(default_factory=list)

    def fault(self, kind, hit=True):
        (self.faults if hit else self.missed)[kind] += 1
        return hit

    def took(self, what, seconds, limit=None):
        """Notes the longest, and a problem where it is longer than promised."""
        if seconds is None:
            return
        self.longest[what] = max(round(seconds, 3), self.longest.get(what, 0))
        if limit is not None and seconds > limit:
            self.problems.append(f"{what} took {seconds:.1f} s, more than {limit} s")

    def valid(self, needed):
        """A round in which none of the faults hit that it is about proves nothing. Their names begin with `needed`."""
        return any(kind.startswith(needed) for kind in self.faults)

    def add(self, other):
        self.events += other.events
        self.duplicates += other.duplicates
        self.faults.update(other.faults)
        self.missed.update(other.missed)
        for what, seconds in other.longest.items():
            self.took(what, seconds)
        self.problems.extend(other.problems)

    def to_json(self):
        return dict(vars(self))

    @classmethod
    def from_json(cls, value):
        return cls(**(value | {"faults": Counter(value["faults"]), "missed": Counter(value["missed"])}))
