"""Redis, Pulsar and MariaDB for the faults: each can be killed, restarted on its data and ports, and paused."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request

from ports import free_port
from process import Process
from redis_client import RedisClient, RedisError
from service import Service, ServiceError, end_all, wait_until

__all__ = ["MariaDB", "Pulsar", "Redis", "RedisError", "ServiceError", "end_all", "wait_until"]


class Redis(Service):
    """appendonly yes, appendfsync everysec, aof-load-truncated yes, no snapshots."""

    name = "redis"

    def start(self) -> None:
        self._run_script("start", 60)
        self.port = int(self._variable("PULSEHUB_TEST_REDIS").rsplit(":", 1)[1])
        self._found()

    def client(self, timeout: float = 5.0) -> RedisClient:
        return RedisClient(self.port, timeout=timeout)

    def wait_written(self, seconds: float = 10) -> None:
        """Until all that it answered is in its file: while an fsync runs it answers first, and a kill loses that."""

        def written() -> bool:
            with self.client() as client:
                return client.info("persistence")["aof_buffer_length"] == "0"

        wait_until(written, "Redis has written its file", seconds)

    def append_only_files(self) -> list[pathlib.Path]:
        """The increments that the manifest names, oldest first; the last one is written to."""
        folder = self.directory / "appendonlydir"
        manifest = (folder / "appendonly.aof.manifest").read_text()
        found = re.findall(r"^file (\S+) seq (\d+) type i", manifest, re.MULTILINE)
        return [folder / name for name, _ in sorted(found, key=lambda entry: int(entry[1]))]

    def size(self) -> int:
        """Bytes of the increment that is written to."""
        return self.append_only_files()[-1].stat().st_size

    def tear(self, offset: int) -> int:
        """Cuts that increment at `offset`, as a machine that lost power does; returns the bytes lost, at least 1."""
        if self.alive():
            raise ServiceError("Redis is running")
        path = self.append_only_files()[-1]
        lost = path.stat().st_size - offset
        if lost < 1 or offset < 0:
            raise ValueError(f"nothing to tear at {offset} of {path.stat().st_size} bytes")
        os.truncate(path, offset)
        return lost

    def tears_found(self) -> int:
        """How often it found its file torn inside a command at a start, by its log."""
        return self.log().count("!!! Truncating the AOF ")

    def _start_again(self, seconds: float) -> None:
        # The script takes a new port each time and leaves the server to itself; its arguments otherwise.
        self._register()
        # One that gave up at its start leaves its number there.
        self._file("pid").unlink(missing_ok=True)
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        command += ["--appendonly", "yes", "--save", "", "--pidfile", str(self._file("pid"))]
        command += ["--logfile", str(self._file("log")), "--daemonize", "no"]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        child = subprocess.Popen(command, start_new_session=True, **quiet)
        self._process = Process(child.pid)
        # Else it would stay as a zombie, which the script's `stop` takes for a server.
        threading.Thread(target=child.wait, daemon=True).start()

        def ready() -> bool:
            if not self.alive():
                raise ServiceError("it ended at once")
            with self.client(timeout=1) as client:
                try:
                    return client.command("PING") == "PONG" and client.info("server")["process_id"] == str(child.pid)
                except RedisError:
                    # LOADING
                    return False

        try:
            wait_until(ready, "Redis answers", seconds)
        except (TimeoutError, ServiceError) as error:
            self._end()
            raise ServiceError(f"Redis does not start again: {error}\n{self.log_tail()}") from error


class Pulsar(Service):
    """A standalone broker.

    `port` is its own, past every proxy. With `proxy_port`, what comes in at `proxied_port` is sent back to the proxy by
    topic lookups: a proxy from `proxy_port` to `proxied_port` carries all that its clients say.
    """

    name = "pulsar"

    def __init__(self, directory, proxy_port: int = 0):
        super().__init__(directory)
        self.proxy_port = proxy_port
        self.proxied_port = free_port() if proxy_port else 0
        self.web_port = 0

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    def start(self, **more: str) -> None:
        """`more` goes to the broker's configuration."""
        self.port, self.web_port, bookie = free_port(), free_port(), free_port()
        self._file("ports").write_text(f"{self.port} {self.web_port} {bookie}\n")
        if self.proxy_port:
            more = {**_listeners(self.port, self.proxied_port, self.proxy_port), **more}
        lines = [f"{key}={value}\n" for key, value in more.items()]
        (self.directory / "more.conf").write_text("".join(lines))
        self._run_script("start", 180)
        self._found()
        # Made after the broker takes connections, once.
        wait_until(self._ready, "Pulsar has its namespace", 60, 0.1)

    def stats(self, topic: str):
        """What the admin API says of a topic; None where it does not exist. Needs a few milliseconds, not a client."""
        return self._get(f"{_path(topic)}/stats?getPreciseBacklog=true")

    def backlog(self, topic: str, subscription: str):
        """Entries (batches) not acknowledged yet; None where topic or subscription does not exist."""
        found = (self.stats(topic) or {}).get("subscriptions", {}).get(subscription)
        return None if found is None else found["msgBacklog"]

    def unreadable(self) -> set[str]:
        """Names of topics of which it could not open what it had stored, since its last start.

        A kill can leave it with a ledger that BookKeeper refuses for ever, with "Digest mismatch" (apache/pulsar#22906).
        """
        failed = re.compile(r"\[public/default/persistent/(\S+)\] Failed to initialize managed ledger")
        log = self.log()
        return set(failed.findall(log)) if "igest" in log else set()

    def delete(self, topic: str) -> None:
        """With its subscriptions and whoever is connected; nothing where it does not exist."""
        request = urllib.request.Request(f"{self.admin}/admin/v2/{_path(topic)}?force=true", method="DELETE")
        try:
            urllib.request.urlopen(request, timeout=30).close()
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise

    def _start_again(self, seconds: float) -> None:
        # The script waits for a line in it, and must not find the last run's.
        if self._file("log").exists():
            self._file("log").rename(self._file("log.before"))
        self._run_script("start", seconds)
        self._found()
        wait_until(self._ready, "Pulsar answers", seconds, 0.1)

    def _ready(self) -> bool:
        """Its own check sends itself a message: for seconds after "ready" in its log no bookie takes any."""
        return "public/default" in (self._get("namespaces/public") or []) and self._healthy()

    def _healthy(self) -> bool:
        with urllib.request.urlopen(f"{self.admin}/admin/v2/brokers/health?topicVersion=V2", timeout=15) as answer:
            return answer.read() == b"ok"

    def _get(self, path: str):
        try:
            with urllib.request.urlopen(f"{self.admin}/admin/v2/{path}", timeout=15) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise


class MariaDB(Service):
    """In TiDB's place; every commit is on disk before it is answered."""

    name = "mariadb"

    def start(self) -> None:
        self.port = free_port()
        self._start_again(120)

    @property
    def url(self) -> str:
        """mysql://user:password@127.0.0.1:port/pulsehub"""
        return self._variable("PULSEHUB_TEST_MYSQL")

    @property
    def password(self) -> str:
        return urllib.parse.urlsplit(self.url).password or ""

    def query(self, sql: str, seconds: float = 10) -> list[list[str]]:
        """Rows of texts (NULL is "NULL") as root, by the socket and so past every proxy."""
        socket = self._file("socket").read_text()
        command = ["mariadb", "--no-defaults", f"--socket={socket}", "--user=root", "-N", "-B", "-e", sql, "pulsehub"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"MariaDB did not answer in {seconds} s") from None
        if done.returncode:
            raise ServiceError(done.stderr.strip())
        return [line.split("\t") for line in done.stdout.splitlines()]

    def stop(self) -> None:
        super().stop()
        self._remove_socket()

    def _start_again(self, seconds: float) -> None:
        # The script returns when SELECT 1 does.
        self._run_script("start", seconds, PULSEHUB_MARIADB_PORT=str(self.port))
        self._found()

    def _end(self) -> None:
        super()._end()
        self._remove_socket()

    def _remove_socket(self) -> None:
        # It lies outside the directory, and a server that is killed leaves it there.
        name = self._file("socket")
        if name.exists():
            pathlib.Path(name.read_text()).unlink(missing_ok=True)


def _listeners(port: int, proxied: int, proxy: int) -> dict[str, str]:
    """Two doors, each with the address that lookups through it answer: the broker's own client keeps out of faults."""
    # It answers lookups of one bundle that come together with one address (apache/pulsar#26244), so its own client must
    # have none to look up among our topics: that would be those of the policies.
    return {
        "advertisedListeners": f"direct:pulsar://127.0.0.1:{port},proxied:pulsar://127.0.0.1:{proxy}",
        "internalListenerName": "direct",
        "bindAddresses": f"proxied:pulsar://127.0.0.1:{proxied}",
        "systemTopicEnabled": "false",
        "topicLevelPoliciesEnabled": "false",
    }


def _path(topic: str) -> str:
    kind, _, name = topic.rpartition("://")
    if name.count("/") < 2:
        name = f"public/default/{name}"
    namespace, local = name.rsplit("/", 1)
    return f"{kind or 'persistent'}/{namespace}/{urllib.parse.quote(local, safe='')}"
