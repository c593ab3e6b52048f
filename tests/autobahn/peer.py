"""The fuzzing peer that the suite's cases drive: a WebSocket client that can do everything wrong.

It has the part of Autobahn's protocol class that cases use, under the names that they use.
"""

import asyncio
import base64
import os
import struct
import types
import urllib.parse

# Deadlines of the cases are for a machine that does nothing else.
PATIENCE = 10
# How long the server may take to answer a close frame, and to end the connection.
CLOSE_TIMEOUT = 10

CLOSED, CONNECTING, CLOSING, OPEN = range(4)
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def octets(text):
    return text if isinstance(text, bytes) else text.encode("latin-1")


def masked(data, mask):
    repeated = mask * (len(data) // 4 + 1)
    number = int.from_bytes(data, "big") ^ int.from_bytes(repeated[: len(data)], "big")
    return number.to_bytes(len(data), "big")


class Violation(Exception):
    """The server breaks the protocol."""


class Peer:
    CLOSE_STATUS_CODE_NORMAL = 1000
    CLOSE_STATUS_CODE_GOING_AWAY = 1001
    CLOSE_STATUS_CODE_PROTOCOL_ERROR = 1002
    CLOSE_STATUS_CODE_INVALID_PAYLOAD = 1007

    def __init__(self, case):
        self.state = CONNECTING
        self.connectionWasOpen = False
        self.closedByMe = self.failedByMe = self.droppedByMe = self.wasClean = False
        self.remoteCloseCode = self.localCloseCode = self.localCloseReason = None
        self.createWirelog = True
        self.autoFragmentSize = 0
        self.txFrameStats = {}
        self.factory = types.SimpleNamespace(isServer=False)
        self.trafficStats = None
        self.timers = []
        self.chunks = asyncio.Queue()
        self.case = case(self)

    async def run(self, url):
        address = urllib.parse.urlsplit(url)
        self.reader, self.writer = await asyncio.open_connection(address.hostname, address.port, limit=1 << 26)
        writing = asyncio.create_task(self.write())
        try:
            await self.handshake(address)
            self.state, self.connectionWasOpen = OPEN, True
            self.case.onOpen()
            await self.read()
        except Violation as violation:
            self.failedByMe = True
            self.case.behavior, self.case.result = "FAILED", f"the server: {violation}"
        except (asyncio.IncompleteReadError, ConnectionError):
            # A connection that ends before both said goodbye is not clean.
            pass
        finally:
            self.state = CLOSED
            for timer in self.timers:
                timer.cancel()
            writing.cancel()
            self.writer.close()
        failed, result = self.case.behavior, self.case.result
        self.case.onConnectionLost(self.failedByMe)
        if self.case.result != result and result.startswith("the server:"):
            self.case.behavior, self.case.result = failed, result

    async def handshake(self, address):
        key = base64.b64encode(os.urandom(16)).decode()
        # Compression is offered, and must not be taken up.
        lines = [
            f"GET {address.path or '/'} HTTP/1.1", f"Host: {address.netloc}", "Upgrade: websocket",
            "Connection: keep-alive, Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits", "", "",
        ]
        self.writer.write("\r\n".join(lines).encode())
        answer = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        if not answer.startswith("http/1.1 101 ") or "sec-websocket-extensions" in answer:
            raise Violation(answer)

    # What came.

    async def read(self):
        message, kind = b"", None
        while True:
            first, second = await self.reader.readexactly(2)
            opcode, final, length = first & 15, first & 128, second & 127
            if first & 0x70 or second & 128:
                raise Violation(f"frame header {first:#x} {second:#x}")
            if length == 126:
                (length,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
            payload = await self.reader.readexactly(length)
            if opcode in (CLOSE, PING, PONG) and (not final or length > 125):
                raise Violation("a control frame that is fragmented or too long")
            if opcode == CLOSE:
                self.on_close(payload)
            elif opcode == PING:
                self.sendFrame(PONG, payload)
                self.case.onPing(payload.decode("latin-1"))
            elif opcode == PONG:
                self.case.onPong(payload.decode("latin-1"))
            elif opcode in (0, TEXT, BINARY) and (opcode == 0) == (kind is not None):
                kind, message = kind or opcode, message + payload
                if final:
                    if kind == TEXT:
                        self.text(message)
                    if self.state == OPEN:
                        self.case.onMessage(message.decode("latin-1"), kind == BINARY)
                    message, kind = b"", None
            else:
                raise Violation(f"opcode {opcode}")

    def text(self, payload):
        try:
            payload.decode("utf-8")
        except UnicodeDecodeError:
            raise Violation("text that is not UTF-8") from None

    def on_close(self, payload):
        if len(payload) == 1:
            raise Violation("a close frame of one byte")
        if payload:
            (code,) = struct.unpack("!H", payload[:2])
            if code < 1000 or code in (1004, 1005, 1006, 1015) or 1014 < code < 3000 or code > 4999:
                raise Violation(f"close code {code}")
            self.remoteCloseCode = code
            self.text(payload[2:])
        if self.state == OPEN:
            self.sendCloseFrame(self.CLOSE_STATUS_CODE_NORMAL, isReply=True)
        self.wasClean = True
        # Now the server ends the connection.
        self.later(CLOSE_TIMEOUT, self.drop)

    # What is sent.

    async def write(self):
        while True:
            chunk = await self.chunks.get()
            try:
                self.writer.write(chunk)
                await self.writer.drain()
            except ConnectionError:
                return

    def sendFrame(self, opcode, payload=b"", fin=True, rsv=0, mask=None, payload_len=None, chopsize=None, sync=False):
        payload = octets(payload)
        if payload_len is not None:
            payload = (payload * (payload_len // len(payload) + 1))[:payload_len] if payload else b""
        self.txFrameStats[opcode] = self.txFrameStats.get(opcode, 0) + 1
        mask = octets(mask) if mask else os.urandom(4)
        frame = self.header(opcode, len(payload), fin, rsv) + mask + masked(payload, mask)
        if chopsize:
            for start in range(0, len(frame), chopsize):
                self.chunks.put_nowait(frame[start : start + chopsize])
        else:
            self.chunks.put_nowait(frame)

    @staticmethod
    def header(opcode, length, fin, rsv=0):
        first = (128 if fin else 0) | rsv % 8 << 4 | opcode % 128
        if length < 126:
            return bytes([first, 128 | length])
        if length < 1 << 16:
            return struct.pack("!BBH", first, 254, length)
        return struct.pack("!BBQ", first, 255, length)

    def sendMessage(self, payload, isBinary=False, fragmentSize=None, sync=False, doNotCompress=False):
        payload, size = octets(payload), fragmentSize or self.autoFragmentSize
        opcode = BINARY if isBinary else TEXT
        if not size or len(payload) <= size:
            return self.sendFrame(opcode, payload, sync=sync)
        for start in range(0, len(payload), size):
            final = start + size >= len(payload)
            self.sendFrame(0 if start else opcode, payload[start : start + size], fin=final, sync=sync)

    def beginMessage(self, isBinary=False, doNotCompress=False):
        self.begun = BINARY if isBinary else TEXT

    def beginMessageFrame(self, length):
        self.mask, self.sent = os.urandom(4), 0
        self.chunks.put_nowait(self.header(self.begun, length, False) + self.mask)
        self.begun = 0

    def sendMessageFrameData(self, payload, sync=False):
        payload = octets(payload)
        turned = self.mask[self.sent % 4 :] + self.mask[: self.sent % 4]
        self.chunks.put_nowait(masked(payload, turned))
        self.sent += len(payload)

    def endMessage(self):
        self.sendFrame(0, b"", fin=True)

    def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
        if self.state != OPEN:
            return
        payload = struct.pack("!H", code) + octets(reasonUtf8 or b"") if code is not None else b""
        self.sendFrame(CLOSE, payload)
        self.state, self.closedByMe = CLOSING, not isReply
        self.localCloseCode, self.localCloseReason = code, reasonUtf8
        self.later(CLOSE_TIMEOUT, self.drop)

    def sendClose(self, code=None, reason=None):
        self.sendCloseFrame(code, reason.encode("utf-8") if reason else None)

    # Time.

    def later(self, seconds, act):
        self.timers.append(asyncio.get_running_loop().call_later(seconds, lambda: self.state != CLOSED and act()))

    def drop(self):
        self.droppedByMe, self.wasClean = True, False
        self.writer.transport.abort()

    def fail(self):
        self.failedByMe = True
        self.sendCloseFrame(self.CLOSE_STATUS_CODE_GOING_AWAY)

    def continueLater(self, delay, act, tag=None):
        self.later(delay, act)

    def killAfter(self, delay):
        self.later(delay * PATIENCE, self.fail)

    def closeAfter(self, delay):
        self.later(delay * PATIENCE, self.sendClose)

    def enableWirelog(self, enable):
        self.createWirelog = enable
