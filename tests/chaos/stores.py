"""The stores that a round counts into: their configuration, and the counters as they stand, read from outside."""

import json
import secrets
import subprocess

import events

DAILY = {"event": "daily_year", "open": "daily_open", "merge": "daily_merge", "close": "daily_close", "dev": "daily_dev"}


def configuration(directory):
    """What every process of a round has in common."""
    return {
        "server": {"host": "127.0.0.1", "port": 0},
        "admin": {"port": 0},
        "storage": {"path": str(directory / "data")},
        "live": {"maxAge": "876000h"},
    }


class Embedded:
    """One process with everything in its data directory."""

    name = "embedded"

    def __init__(self, binary, directory):
        self.binary, self.directory = binary, directory

    def configuration(self):
        return configuration(self.directory)

    def counters(self, config):
        """As `pulsehub stats` reads them, with nobody holding the data."""
        reports = {}
        for year in events.YEARS:
            command = [str(self.binary), "stats", "--year", str(year), "--format", "json", "--config", str(config)]
            report = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
            reports["language"] = report.pop("language")
            reports[year] = report
        return reports

    def delivered(self):
        return None

    def close(self):
        pass


class Cluster:
    """Pulsar and Redis, shared by the rounds: each has a topic of its own and an empty Redis."""

    name = "Pulsar + Redis"

    def __init__(self, redis, pulsar, directory, round_name):
        self.redis, self.pulsar, self.directory = redis, pulsar, directory
        # A try that was given up may have left messages on a topic.
        self.topic = f"persistent://public/default/{round_name}-{secrets.token_hex(4)}"
        empty(redis)

    def configuration(self):
        topic = {"topic": self.topic}
        return configuration(self.directory) | {
            "live": {"maxAge": "876000h", "topic": self.topic + "-live"},
            "pulsar": {
                "devHost": f"pulsar://127.0.0.1:{self.pulsar.port}",
                "adminUrl": self.pulsar.admin,
                "producer": topic,
                "consumer": topic | {"name": "workers"},
            },
            "redis": {"host": f"127.0.0.1:{self.redis.port}"},
        }

    def counters(self, _config):
        with self.redis.client() as client:
            return in_redis(client)

    def delivered(self):
        """Messages that the broker handed out since it started."""
        return self.pulsar.stats(self.topic)["subscriptions"]["workers"]["msgOutCounter"]

    def close(self):
        for suffix in ("", "-live", "-retry", "-dead-letter"):
            self.pulsar.delete(self.topic + suffix)


class RedisOnly(Cluster):
    """The embedded log, and Redis."""

    name = "embedded log + Redis"

    def __init__(self, redis, directory):
        self.redis, self.directory = redis, directory
        empty(redis)

    def configuration(self):
        return configuration(self.directory) | {"redis": {"host": f"127.0.0.1:{self.redis.port}"}}

    def delivered(self):
        return None

    def close(self):
        pass


def empty(redis):
    with redis.client() as client:
        client.command("FLUSHALL")


def in_redis(client):
    """The hashes that others read, in the form of `pulsehub stats`."""
    reports, languages = {}, {}
    for year in events.YEARS:
        daily = {}
        for name, key in DAILY.items():
            for day, count in client.hgetall(f"{key}_{year}").items():
                daily.setdefault(day, dict.fromkeys(DAILY, 0))[name] = int(count)
        total = dict.fromkeys(("dev", "repo", "additions", "deletions"), 0)
        total |= {name: int(count) for name, count in client.hgetall(f"year_sum_{year}").items()}
        reports[year] = {"year": year, "daily": daily, "sum": total}
    for key in client.keys("l_*"):
        for language, count in client.hgetall(key).items():
            languages[language] = languages.get(language, 0) + int(count)
    return reports | {"language": languages}
