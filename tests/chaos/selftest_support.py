"""Small peers and steps that selftest.py tries the tools against."""

import base64
import hashlib
import socket
import struct
import threading
import time

from ports import free_port
from process import Process


class Echo:
    """Sends back what it gets, and counts its reads."""

    def __init__(self):
        self.port, self.reads = free_port(), 0
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        try:
            # Wakes the thread that accepts.
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection:
            try:
                while data := connection.recv(1 << 18):
                    self.reads += 1
                    connection.sendall(data)
            except OSError:
                pass


class faulty:
    """Runs a fault in a thread; the hit is in the list at the end."""

    def __init__(self, fault):
        self.hits = []
        self.thread = threading.Thread(target=lambda: self.hits.append(fault()))

    def __enter__(self):
        self.thread.start()
        return self.hits

    def __exit__(self, *_):
        self.thread.join(10)


class websocket_server:
    """Takes one connection, shakes hands and has it served in a thread."""

    def __init__(self, serve):
        self.serve, self.port = serve, free_port()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self.port

    def __exit__(self, *_):
        self.thread.join(10)
        self.listener.close()

    def run(self):
        connection, _ = self.listener.accept()
        with connection:
            connection.settimeout(10)
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(4096)
            key = head.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
            accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
            self.serve(connection)


def unmasked(connection):
    first, second = exactly(connection, 2)
    assert second & 128, "a client's frame is masked"
    length = second & 127
    if length == 126:
        length = int.from_bytes(exactly(connection, 2), "big")
    mask, data = exactly(connection, 4), exactly(connection, length)
    return first & 15, bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))


def lookup(port):
    """Says CONNECT and LOOKUP in Pulsar's protocol; returns the connection and the answer, unparsed."""
    client = socket.create_connection(("127.0.0.1", port), timeout=15)
    # BaseCommand { type, connect { client_version, protocol_version } }
    client.sendall(frame(b"\x08\x02" + field(2, field(1, b"selftest") + b"\x20\x06")))
    answer(client)
    # BaseCommand { type, lookupTopic { topic, request_id } }
    client.sendall(frame(b"\x08\x17" + field(23, field(1, b"persistent://public/default/looked-up") + b"\x10\x01")))
    return client, answer(client)


def field(number, data):
    tag = number << 3 | 2
    return (bytes([tag]) if tag < 128 else bytes([tag & 127 | 128, tag >> 7])) + bytes([len(data)]) + data


def frame(command):
    return struct.pack("!II", len(command) + 4, len(command)) + command


def answer(client):
    return exactly(client, struct.unpack("!I", exactly(client, 4))[0])


def exactly(connection, count):
    data = bytearray()
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise ConnectionError(f"the end after {len(data)} of {count} bytes")
        data += more
    return bytes(data)


def round_trip(client):
    client.sendall(b"ping")
    return exactly(client, 4)


def timed(action):
    began = time.monotonic()
    action()
    return time.monotonic() - began


def gone(pid):
    try:
        return not Process(pid).alive()
    except ProcessLookupError:
        return True


def together(*actions):
    errors = []

    def run(action):
        try:
            action()
        except Exception as error:  # pylint: disable=broad-except
            errors.append(error)

    threads = [threading.Thread(target=run, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
