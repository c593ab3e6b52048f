"""A small WebSocket client (RFC 6455) for ws://127.0.0.1 that reads what a front end would.

One thread may read while others send. Nothing reads by itself: pings are answered in read().
"""

import base64
import hashlib
import os
import select
import socket
import struct
import threading
import time
from urllib.parse import urlsplit

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
# No close frame came: the connection was cut (section 7.4.1 reserves the number for this).
CUT = 1006
NO_CODE = 1005
_ACCEPT = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class WebSocket:
    """`buffer` bounds what the kernel takes in unread: a small one makes a client that stalls stall the server too."""

    def __init__(self, url: str, timeout: float = 10.0, buffer: int = 0):
        parts = urlsplit(url)
        self.timeout = timeout
        self.closed = None
        self._buffer = bytearray()
        self._fragments = b""
        self._kind = TEXT
        self._sending = threading.Lock()
        self._socket = socket.socket()
        try:
            if buffer:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            self._socket.settimeout(timeout)
            self._socket.connect((parts.hostname, parts.port or 80))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._handshake(parts)
        except socket.timeout as error:
            self.abort()
            raise TimeoutError(f"{url} did not answer in {timeout} s") from error
        except BaseException:
            self.abort()
            raise

    def read(self, timeout=None):
        """The next message: str, bytes of a binary one, or ("close", code), then and ever after.

        TimeoutError leaves the connection as it is, also in the middle of a message.
        """
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while self.closed is None:
            frame = self._frame()
            if frame is None:
                self._receive(deadline)
                continue
            final, kind, data = frame
            if kind == PING:
                self._send(PONG, data)
            elif kind == CLOSE:
                code = struct.unpack("!H", data[:2])[0] if len(data) >= 2 else NO_CODE
                self._send(CLOSE, data[:2])
                self._end(code)
            elif kind in (0, TEXT, BINARY):
                self._kind = kind or self._kind
                self._fragments += data
                if final:
                    message, self._fragments = self._fragments, b""
                    return message.decode() if self._kind == TEXT else message
        return ("close", self.closed)

    def send(self, text: str) -> None:
        """ConnectionError or OSError when it can't go out."""
        if self.closed is not None:
            raise ConnectionError("the WebSocket is closed")
        with self._sending:
            self._socket.sendall(_masked(TEXT, text.encode()))

    def close(self, code: int = 1000) -> None:
        """Says goodbye and leaves, without waiting for the answer."""
        if self.closed is None:
            self._send(CLOSE, struct.pack("!H", code))
            self._end(code)

    def abort(self) -> None:
        """Leaves without a word, as a client that crashed."""
        self._end(CUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _handshake(self, parts) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        path = (parts.path or "/") + ("?" + parts.query if parts.query else "")
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        deadline = time.monotonic() + self.timeout
        while b"\r\n\r\n" not in self._buffer:
            self._receive(deadline)
            if self.closed is not None:
                raise ConnectionError("closed during the handshake")
        head, rest = bytes(self._buffer).split(b"\r\n\r\n", 1)
        self._buffer = bytearray(rest)
        lines = head.decode("latin-1").split("\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        expected = base64.b64encode(hashlib.sha1((key + _ACCEPT).encode()).digest()).decode()
        if lines[0].split(" ")[1:2] != ["101"] or fields.get("sec-websocket-accept") != expected:
            raise ConnectionError(f"no WebSocket: {lines[0]}")

    def _frame(self):
        """(final, kind, data) of a whole frame in the buffer, or None."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        length, start = buffer[1] & 127, 2
        if length >= 126:
            start = 4 if length == 126 else 10
            if len(buffer) < start:
                return None
            length = int.from_bytes(buffer[2:start], "big")
        if len(buffer) < start + length:
            return None
        frame = (bool(buffer[0] & 128), buffer[0] & 15, bytes(buffer[start : start + length]))
        del buffer[: start + length]
        return frame

    def _receive(self, deadline: float) -> None:
        """More bytes into the buffer, or the end."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no message in time")
        try:
            # A select of its own: a shorter timeout of the socket would hold for senders too.
            if not _readable(self._socket, left):
                raise TimeoutError("no message in time")
            data = self._socket.recv(1 << 16)
        except TimeoutError:
            raise
        except (OSError, ValueError):
            data = b""
        if data:
            self._buffer += data
        else:
            self._end(CUT)

    def _send(self, kind: int, data: bytes) -> None:
        """A control frame; that the other side is gone is for the reader to find."""
        try:
            with self._sending:
                self._socket.sendall(_masked(kind, data))
        except OSError:
            pass

    def _end(self, code: int) -> None:
        if self.closed is None:
            self.closed = code
            try:
                # Wakes a thread that reads, which close() alone would not.
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._socket.close()


def _readable(connection, seconds: float) -> bool:
    # poll, since select knows no descriptor above 1023 and there may be a thousand clients.
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(max(1, seconds * 1000)))


def _masked(kind: int, data: bytes) -> bytes:
    length = len(data)
    if length < 126:
        head = struct.pack("!BB", 128 | kind, 128 | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", 128 | kind, 128 | 126, length)
    else:
        head = struct.pack("!BBQ", 128 | kind, 128 | 127, length)
    mask = os.urandom(4)
    # The mask over all bytes at once, as one long number.
    repeated = (mask * (length // 4 + 1))[:length]
    masked = (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(length, "big")
    return head + mask + masked
