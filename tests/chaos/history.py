"""Pulsar, Redis, and a table in MariaDB that workers write; each of the three may be reached through a proxy."""

import subprocess

import events
from stores import Cluster


class WithHistory(Cluster):
    """Every round has a database of its own."""

    name = "Pulsar + Redis + MariaDB"

    def __init__(self, harness, directory, round_name, proxied=False):
        super().__init__(harness.redis(), harness.pulsar(), directory, round_name)
        self.harness, self.mariadb, self.proxied = harness, harness.mariadb(), proxied
        self.database = round_name.replace("-", "_")
        self.mariadb.query(f"DROP DATABASE IF EXISTS {self.database}")
        self.mariadb.query(f"CREATE DATABASE {self.database}")

    def configuration(self):
        ports = {name: getattr(self, name).port for name in ("pulsar", "redis", "mariadb")}
        if self.proxied:
            ports = {name: self.harness.proxy(name).port for name in ports}
        both = super().configuration()
        both["pulsar"]["devHost"] = f"pulsar://127.0.0.1:{ports['pulsar']}"
        both["redis"]["host"] = f"127.0.0.1:{ports['redis']}"
        history = {"host": "127.0.0.1", "port": ports["mariadb"], "user": "pulsehub", "password": self.mariadb.password}
        return both | {
            "tidb": history | {"db": self.database},
            "history": {"write": True},
            # What a backfill finds is published where it is more: here it could cover up what the state lost.
            "disable": {"interval": True},
        }

    def rows(self):
        """In the table, which the first worker makes."""
        there = f"SELECT 1 FROM information_schema.tables WHERE table_schema = '{self.database}'"
        if not self.mariadb.query(there):
            return 0
        return int(self.mariadb.query(f"SELECT COUNT(*) FROM {self.database}.github_events", seconds=120)[0][0])

    def problems(self, archive, config):
        """What is wrong with the rows: their number, and what `pulsehub verify` counts from them."""
        found = []
        rows = self.rows()
        if rows != archive.distinct:
            found.append(f"{rows} rows instead of {archive.distinct}")
        for year in events.YEARS:
            command = [str(self.harness.binary), "verify", "--year", str(year), "--config", str(config)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
            if done.returncode:
                found.append(f"verify of {year} ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
        return found

    def close(self):
        super().close()
        self.mariadb.query(f"DROP DATABASE {self.database}", seconds=60)
