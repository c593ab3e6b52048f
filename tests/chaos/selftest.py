"""Tries the tools that the fault harness stands on, on real services: python3 tests/chaos/selftest.py (about 50 s)."""

import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

sys.dont_write_bytecode = True

from process import Process  # noqa: E402
from proxy import Proxy  # noqa: E402
from redis_client import RedisClient, RedisError  # noqa: E402
from services import MariaDB, Pulsar, Redis, ServiceError, end_all, wait_until  # noqa: E402
from selftest_support import (  # noqa: E402
    Echo,
    exactly,
    faulty,
    gone,
    lookup,
    round_trip,
    timed,
    together,
    unmasked,
    websocket_server,
)
from websocket import WebSocket  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
work = pathlib.Path(tempfile.mkdtemp(prefix="pulsehub-chaos-"))
redis = Redis(work / "redis")
mariadb = MariaDB(work / "mariadb")
# Open before the broker starts, so that nobody takes the port that it advertises.
gate = Proxy()
pulsar = Pulsar(work / "pulsar", proxy_port=gate.port)
gate.target_port = pulsar.proxied_port


def setUpModule():
    together(redis.start, mariadb.start, pulsar.start)


def tearDownModule():
    try:
        together(redis.stop, mariadb.stop, pulsar.stop)
    finally:
        end_all()
        gate.close()
        shutil.rmtree(work)


class RedisTest(unittest.TestCase):
    def setUp(self):
        self.client = redis.client()
        self.client.command("FLUSHALL")

    def tearDown(self):
        self.client.close()

    def test_kill_and_restart_keep_data_and_port(self):
        self.client.command("SET", "kept", "here")
        redis.wait_written()
        port, pid = redis.port, redis.pid
        redis.kill()
        self.assertFalse(redis.alive())
        with self.assertRaises(OSError):
            self.client.command("PING")
        redis.restart()
        self.assertEqual(redis.port, port)
        self.assertNotEqual(redis.pid, pid)
        self.assertEqual(self.client.get("kept"), "here")

    def test_torn_tail_loses_the_last_command_only(self):
        self.client.command("SET", "first", 1)
        self.client.command("SET", "last", 2)
        redis.wait_written()
        found = redis.tears_found()
        redis.kill()
        self.assertEqual(redis.tear(redis.size() - 3), 3)
        redis.restart()
        self.client.close()
        self.assertEqual((self.client.get("first"), self.client.get("last")), ("1", None))
        self.assertEqual(redis.tears_found(), found + 1)

    def test_tear_needs_a_dead_server_and_something_to_lose(self):
        with self.assertRaises(ServiceError):
            redis.tear(0)
        redis.kill()
        try:
            with self.assertRaises(ValueError):
                redis.tear(redis.size())
        finally:
            redis.restart()

    def test_increments_follow_the_manifest(self):
        before = redis.append_only_files()
        self.client.command("BGREWRITEAOF")
        wait_until(lambda: redis.append_only_files() != before, "the rewrite", 10)
        self.assertTrue(redis.append_only_files()[-1].exists())

    def test_paused_server_answers_after_it_was_resumed(self):
        redis.pause()
        with redis.client(timeout=0.3) as hasty, self.assertRaises(TimeoutError):
            hasty.command("PING")
        redis.resume()
        self.assertEqual(self.client.command("PING"), "PONG")

    def test_replies_become_values_of_python(self):
        self.client.pipeline([("HSET", "h", "a", 1, "ü", "é"), ("SET", "s", b"\xff"), ("LPUSH", "l", "x", "y")])
        self.assertEqual(self.client.hgetall("h"), {"a": "1", "ü": "é"})
        self.assertEqual(self.client.command("GET", "s"), b"\xff")
        self.assertEqual(self.client.command("LRANGE", "l", 0, -1), [b"y", b"x"])
        self.assertEqual(self.client.keys("[hs]"), ["h", "s"])
        self.assertIsNone(self.client.get("nothing"))
        with self.assertRaises(RedisError) as raised:
            self.client.command("GET", "h")
        self.assertEqual(raised.exception.code, "WRONGTYPE")
        self.assertEqual(self.client.command("PING"), "PONG")

    def test_scan_finds_every_key_once(self):
        self.client.pipeline([("SET", f"many:{i}", i) for i in range(5000)])
        self.assertEqual(len(self.client.keys("many:*")), 5000)

    def test_cut_resets_and_refuses_clients(self):
        with Proxy(redis.port) as proxy, RedisClient(proxy.port) as client:
            client.command("SET", "through", 1)
            with faulty(proxy.cut) as hits:
                wait_until(lambda: proxy.mode == "cut", "the cut", 5)
                for _ in range(2):
                    with self.assertRaises(OSError):
                        client.command("PING")
                proxy.heal()
            self.assertEqual((hits[0].connections_reset, hits[0].connections_refused), (1, 1))
            self.assertEqual(client.get("through"), "1")


class MariaDBTest(unittest.TestCase):
    def test_kill_pause_and_restart_keep_data_and_port(self):
        mariadb.query("CREATE TABLE t (n INT PRIMARY KEY); INSERT INTO t VALUES (1), (NULLIF(2, 0))")
        port, url = mariadb.port, mariadb.url
        mariadb.kill()
        with self.assertRaises(ServiceError):
            mariadb.query("SELECT 1")
        mariadb.restart()
        self.assertEqual((mariadb.port, mariadb.url), (port, url))
        self.assertEqual(mariadb.query("SELECT n FROM t ORDER BY n"), [["1"], ["2"]])
        mariadb.pause()
        with self.assertRaises(TimeoutError):
            mariadb.query("SELECT 1", seconds=0.5)
        mariadb.resume()
        self.assertEqual(mariadb.query("SELECT 1"), [["1"]])


class PulsarTest(unittest.TestCase):
    def test_lookups_through_the_proxy_lead_back_to_it(self):
        client, answer = lookup(gate.port)
        client.close()
        self.assertIn(b"pulsar://127.0.0.1:%d" % gate.port, answer)
        self.assertNotIn(b":%d" % pulsar.port, answer)

    def test_cut_reaches_a_client_of_the_broker(self):
        wait_until(lambda: gate.connections() == 0, "others are gone", 10)
        client, _ = lookup(gate.port)
        self.assertEqual(Process(os.getpid()).connections_to(gate.port), 1)
        hit = gate.cut(0.2)
        self.assertEqual(hit.connections_reset, 1)
        with client, self.assertRaises(ConnectionResetError):
            client.recv(1)
        client, answer = lookup(gate.port)
        client.close()
        self.assertIn(b"pulsar://", answer)

    def test_kill_and_restart_keep_topics(self):
        for topic in ("kept", "kept-again", "kept-at-last"):
            self.assertIsNone(pulsar.backlog(topic, "reader"))
            admin("PUT", f"persistent/public/default/{topic}")
            admin("PUT", f"persistent/public/default/{topic}/subscription/reader", json.dumps("earliest"))
            self.assertEqual(pulsar.backlog(f"persistent://public/default/{topic}", "reader"), 0)
            self.assertIsNone(pulsar.backlog(topic, "nobody"))
            pulsar.pause()
            self.assertTrue(pulsar.alive())
            pulsar.kill()
            self.assertFalse(pulsar.alive())
            pulsar.restart()

            # For a moment behind its start it has no topic at all.
            def found(topic=topic):
                return topic in pulsar.unreadable() or pulsar.backlog(topic, "reader") == 0

            wait_until(found, "its backlog is known", 30)
            if topic not in pulsar.unreadable():
                return
        self.fail("Pulsar lost three topics in a row")


class ProxyTest(unittest.TestCase):
    def setUp(self):
        self.echo = Echo()
        self.proxy = Proxy(self.echo.port)

    def tearDown(self):
        self.proxy.close()
        self.echo.close()

    def client(self):
        client = socket.create_connection(("127.0.0.1", self.proxy.port), timeout=10)
        self.addCleanup(client.close)
        return client

    def test_healthy_proxy_carries_fifty_megabytes_a_second(self):
        client, megabytes = self.client(), 100
        # Of a processor's time, of which the other ends have their part too: the machine may have other work.
        began = time.process_time()
        # There and back: twice as much goes through.
        writer = threading.Thread(target=lambda: [client.sendall(bytes(1 << 20)) for _ in range(megabytes)])
        writer.start()
        self.assertEqual(len(exactly(client, megabytes << 20)), megabytes << 20)
        writer.join()
        rate = megabytes / (time.process_time() - began)
        print(f"proxy: {rate:.0f} MB/s each way", file=sys.stderr)
        self.assertGreater(rate, 50)
        self.assertEqual(self.proxy.carried(), 2 * megabytes << 20)

    def test_cut_resets_connections_and_new_ones_until_it_is_over(self):
        clients = [self.client(), self.client()]
        for client in clients:
            round_trip(client)
        with faulty(self.proxy.cut) as hits:
            wait_until(lambda: self.proxy.mode == "cut", "the fault", 5)
            for client in clients + [self.client()]:
                with self.assertRaises(ConnectionResetError):
                    client.recv(1)
            self.proxy.heal()
        self.assertEqual((hits[0].connections_reset, hits[0].connections_refused), (2, 1))
        self.assertEqual(round_trip(self.client()), b"ping")
        self.assertEqual((self.proxy.hits["cut"], self.proxy.misses["cut"]), (1, 0))

    def test_hanging_proxy_holds_bytes_and_delivers_them_after(self):
        client = self.client()
        round_trip(client)
        with faulty(self.proxy.hang) as hits:
            wait_until(lambda: self.proxy.mode == "hang", "the fault", 5)
            late = self.client()
            for one in (client, late):
                one.sendall(b"held")
            client.settimeout(0.3)
            with self.assertRaises(socket.timeout):
                client.recv(4)
            self.proxy.heal()
        client.settimeout(10)
        self.assertEqual((exactly(client, 4), exactly(late, 4)), (b"held", b"held"))
        self.assertEqual((hits[0].bytes_held, hits[0].connections_held), (8, 1))

    def test_end_of_a_connection_waits_for_the_black_hole_too(self):
        client = self.client()
        round_trip(client)
        with faulty(self.proxy.hang):
            wait_until(lambda: self.proxy.mode == "hang", "the fault", 5)
            client.close()
            client = self.client()
            client.sendall(b"bye")
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(self.proxy.connections(), 2)
            self.proxy.heal()
        self.assertEqual(client.recv(100) + client.recv(100), b"bye")
        wait_until(lambda: self.proxy.connections() == 0, "both are gone", 5)

    def test_delay_is_felt_in_both_directions(self):
        client = self.client()
        quick = timed(lambda: round_trip(client))
        with faulty(lambda: self.proxy.delay(100)) as hits:
            wait_until(lambda: self.proxy.mode == "delay", "the fault", 5)
            slow = timed(lambda: round_trip(client))
            self.proxy.heal()
        self.assertLess(quick, 0.1)
        self.assertGreaterEqual(slow, 0.2)
        self.assertEqual(hits[0].bytes_delayed, 8)

    def test_slices_arrive_in_pieces_and_whole(self):
        client, data = self.client(), os.urandom(20_000)
        with faulty(lambda: self.proxy.slice(500)) as hits:
            wait_until(lambda: self.proxy.mode == "slice", "the fault", 5)
            client.sendall(data)
            self.assertEqual(exactly(client, len(data)), data)
            self.proxy.heal()
        # 40 pieces, the last of which is only what is left. The echo comes back in pieces that are small already.
        self.assertGreaterEqual((hits[0].slices, hits[0].bytes_sliced), (39, 19_500))
        # The other side really read them apart.
        self.assertGreater(self.echo.reads, 20)

    def test_fault_that_touches_nothing_is_missed(self):
        client = self.client()
        round_trip(client)
        for fault in (self.proxy.hang, lambda s: self.proxy.delay(50, s), lambda s: self.proxy.slice(9, s)):
            self.assertTrue(fault(0.05).missed)
        client.close()
        wait_until(lambda: self.proxy.connections() == 0, "it is gone", 5)
        self.assertTrue(self.proxy.cut(0.05).missed)
        self.assertEqual((sum(self.proxy.misses.values()), sum(self.proxy.hits.values())), (4, 0))

    def test_dead_target_resets_its_clients(self):
        self.echo.close()
        with self.assertRaises(ConnectionError):
            client = self.client()
            client.sendall(b"x")
            client.recv(1)


class WebSocketTest(unittest.TestCase):
    def test_messages_pings_and_close_code_are_read(self):
        heard = []

        def serve(connection):
            # A message in two frames with a ping between them, then a long one, then the end.
            connection.sendall(b"\x01\x03Hel\x89\x01!\x80\x02lo")
            connection.sendall(b"\x81\x7f" + struct.pack("!Q", 70_000) + b"x" * 70_000)
            heard.append(unmasked(connection))
            connection.sendall(b"\x88\x02" + struct.pack("!H", 1001))
            heard.extend([unmasked(connection), unmasked(connection)])

        with websocket_server(serve) as port, WebSocket(f"ws://127.0.0.1:{port}/sampling?a=b") as client:
            self.assertEqual(client.read(), "Hello")
            self.assertEqual(client.read(), "x" * 70_000)
            client.send("ü" * 100)
            self.assertEqual(client.read(), ("close", 1001))
            self.assertEqual(client.read(), ("close", 1001))
        self.assertEqual(heard[0], (10, b"!"))
        self.assertEqual(heard[1], (1, ("ü" * 100).encode()))
        self.assertEqual(heard[2], (8, struct.pack("!H", 1001)))

    def test_late_message_is_a_timeout_and_a_cut_connection_has_code_1006(self):
        go = threading.Event()

        def serve(connection):
            connection.sendall(b"\x81\x05He")
            go.wait(10)
            connection.sendall(b"llo")

        with websocket_server(serve) as port, WebSocket(f"ws://127.0.0.1:{port}/") as client:
            with self.assertRaises(TimeoutError):
                client.read(timeout=0.2)
            go.set()
            self.assertEqual(client.read(), "Hello")
            self.assertEqual(client.read(), ("close", 1006))
            with self.assertRaises(OSError):
                client.send("x")


class EndTest(unittest.TestCase):
    def test_services_end_with_the_harness(self):
        # One that runs, one that is just being started.
        with tempfile.TemporaryDirectory(dir=work) as folder:
            script = (
                "import sys, threading; sys.path.insert(0, sys.argv[1]); folder = sys.argv[2]\n"
                "from services import MariaDB, Redis, wait_until\n"
                "redis, mariadb = Redis(folder + '/redis'), MariaDB(folder + '/mariadb')\n"
                "redis.start()\n"
                "threading.Thread(target=mariadb.start, daemon=True).start()\n"
                "begun = mariadb.directory / 'mariadb.pid'\n"
                "wait_until(lambda: begun.exists() and begun.read_text(), 'a start', 60)\n"
                "print(redis.pid, begun.read_text())"
            )
            command = [sys.executable, "-B", "-c", script, str(HERE), folder]
            said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120, check=True)
            pids = [int(word) for word in said.stdout.split()]
            self.assertEqual(len(pids), 2)
            for pid in pids:
                wait_until(lambda pid=pid: gone(pid), f"{pid} is gone", 5)


def admin(method, path, body=""):
    request = urllib.request.Request(
        f"{pulsar.admin}/admin/v2/{path}", body.encode(), {"Content-Type": "application/json"}, method=method
    )
    with urllib.request.urlopen(request, timeout=15):
        pass


if __name__ == "__main__":
    unittest.main(verbosity=2)
