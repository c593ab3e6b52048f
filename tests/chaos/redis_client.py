"""A small Redis client (RESP2) that reads the product's state from outside.

A connection is made at the first command and again after one that failed; no command is ever sent twice. One object
serves one command at a time; threads that share it wait for each other.
"""

import socket
import threading


class RedisError(Exception):
    """What the server refused; `.code` is its first word, such as LOADING or WRONGTYPE."""

    @property
    def code(self) -> str:
        return str(self).split(" ", 1)[0]


class RedisClient:
    """Lost connections are ConnectionError or OSError, late answers TimeoutError."""

    def __init__(self, port: int, host: str = "127.0.0.1", timeout: float = 5.0):
        self.address = (host, port)
        self.timeout = timeout
        self._socket = None
        self._reader = None
        self._lock = threading.RLock()

    def command(self, *arguments):
        """Bulk strings are bytes, status lines str, integers int, nil None, arrays list."""
        return self.pipeline([arguments])[0]

    def pipeline(self, commands) -> list:
        """Replies in order. The first that is an error is raised, after all were read."""
        request = b"".join(_encode(arguments) for arguments in commands)
        with self._lock:
            try:
                if self._socket is None:
                    self._connect()
                self._socket.sendall(request)
                replies = [self._reply() for _ in commands]
            except socket.timeout as error:
                self.close()
                raise TimeoutError(f"Redis at {self.address} did not answer in {self.timeout} s") from error
            except BaseException:
                # What comes later would be read as the answer to another command.
                self.close()
                raise
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
        return replies

    def get(self, key):
        """The text at `key`, or None."""
        return _text(self.command("GET", key))

    def hgetall(self, key) -> dict:
        """Fields and values as text; {} where there is no such key."""
        flat = [_text(value) for value in self.command("HGETALL", key)]
        return dict(zip(flat[::2], flat[1::2]))

    def keys(self, pattern: str = "*") -> list:
        """Sorted names, by SCAN: it does not stop the server, and shows what stood there all the while."""
        found, cursor = set(), "0"
        while True:
            cursor, page = self.command("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
            found.update(_text(key) for key in page)
            if cursor == b"0":
                return sorted(found)

    def info(self, section: str = "default") -> dict:
        """Lines of INFO as texts, such as info("persistence")["aof_rewrites"]."""
        lines = _text(self.command("INFO", section)).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))

    def close(self) -> None:
        with self._lock:
            if self._socket is not None:
                self._reader.close()
                self._socket.close()
                self._socket = self._reader = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _connect(self) -> None:
        self._socket = socket.create_connection(self.address, timeout=self.timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = self._socket.makefile("rb")

    def _reply(self):
        line = self._reader.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return RedisError(rest.decode("utf-8", "replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._exactly(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self._reply() for _ in range(int(rest))]
        raise ConnectionError(f"no RESP2 reply: {line[:80]!r}")

    def _exactly(self, count: int) -> bytes:
        data = self._reader.read(count)
        if len(data) < count:
            raise ConnectionError("Redis closed the connection")
        return data


def _encode(arguments) -> bytes:
    parts = [argument if isinstance(argument, bytes) else str(argument).encode() for argument in arguments]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def _text(value):
    return value.decode() if isinstance(value, bytes) else value
