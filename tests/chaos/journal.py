"""Rounds that were done, kept so that a run that was interrupted goes on where it stood."""

import json

from outcome import Outcome


class Journal:
    def __init__(self, path, version):
        self.path, self.version = path, version
        self.done = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        for line in path.read_text().splitlines() if path.exists() else ():
            entry = json.loads(line)
            if entry["version"] == version:
                self.done[entry["protocol"], entry["round"]] = Outcome.from_json(entry["outcome"])

    def note(self, protocol, number, outcome):
        entry = {"version": self.version, "protocol": protocol, "round": number, "outcome": outcome.to_json()}
        with open(self.path, "a") as file:
            file.write(json.dumps(entry) + "\n")
        self.done[protocol, number] = outcome
