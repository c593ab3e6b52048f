"""One connection through the proxy: two pipes of bytes, each held back, delayed or sliced as the proxy's mode says.

Runs in the proxy's thread only. What a pipe holds is bounded: with LIMIT bytes it stops reading, so that the sender
feels it as a full network.
"""

import collections
import errno
import selectors
import socket
import struct
import time

LIMIT = 4 << 20
CHUNK = 256 << 10
# SO_LINGER without time: close() sends RST.
RESET = struct.pack("ii", 1, 0)


class Connection:
    """A client that was accepted, and the way from it to the target."""

    def __init__(self, proxy, client: socket.socket):
        self.proxy = proxy
        self.closed = False
        self._client = client
        self._target = socket.socket()
        self._connected = False
        self._dialled = False
        self._broken = False
        for end in (self._client, self._target):
            end.setblocking(False)
            # Small pieces have to go out as such.
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pipes = (_Pipe(self._client, self._target), _Pipe(self._target, self._client))
        self._interests = {self._client: 0, self._target: 0}
        if proxy.mode != "hang":
            self._dial()
        self.arrange()

    def released(self) -> None:
        """The fault is over: everything held goes on at once."""
        for pipe in self._pipes:
            pipe.waiting = None
            pipe.chunks = collections.deque((0.0, data) for _, data in pipe.chunks)
        if self._broken:
            self.reset()
            return
        if not self._dialled:
            self._dial()
        self._flush_all()

    def begun(self) -> None:
        """A fault begins: what is on its way here meets it too."""
        if self.proxy.mode == "hang":
            self.proxy.hit.bytes_held += sum(pipe.size for pipe in self._pipes)
        self.arrange()

    def due(self, now: float) -> None:
        """Bytes that waited until `now` go on."""
        waited = False
        for pipe in self._pipes:
            if pipe.waiting is not None and pipe.waiting <= now:
                pipe.waiting, waited = None, True
        if waited:
            self._flush_all()

    def moments(self):
        return [pipe.waiting for pipe in self._pipes if pipe.waiting is not None]

    def reset(self) -> None:
        """Both sides get RST; what was under way is lost."""
        for end in (self._client, self._target):
            try:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            except OSError:
                pass
        self._close()

    def arrange(self) -> None:
        """Tells the selector what each end waits for now."""
        if self.closed:
            return
        for pipe, other in (self._pipes, self._pipes[::-1]):
            interest = 0
            if pipe.source is self._target and not self._connected:
                interest = selectors.EVENT_WRITE if self._dialled else 0
            elif not self._broken:
                if not pipe.ended and pipe.size < LIMIT:
                    interest |= selectors.EVENT_READ
                if other.chunks and other.waiting is None and self.proxy.mode != "hang":
                    interest |= selectors.EVENT_WRITE
            self._register(pipe.source, interest)

    def _register(self, end: socket.socket, interest: int) -> None:
        before = self._interests[end]
        if interest == before:
            return
        self._interests[end] = interest
        if not before:
            self.proxy.selector.register(end, interest, lambda events: self._ready(end, events))
        elif interest:
            self.proxy.selector.modify(end, interest, lambda events: self._ready(end, events))
        else:
            # Not watched at all: an end that broke would be reported again and again.
            self.proxy.selector.unregister(end)

    def _ready(self, end: socket.socket, events: int) -> None:
        # Another event of the same turn may have closed it.
        if self.closed:
            return
        inward, outward = self._pipes if end is self._client else self._pipes[::-1]
        if end is self._target and not self._connected:
            error = end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                self._fail()
                return
            self._connected = True
            events = 0
        if events & selectors.EVENT_READ:
            self._read(inward)
        if not self.closed and events & selectors.EVENT_WRITE:
            self._flush(outward)
        self._finish()

    def _dial(self) -> None:
        self._dialled = True
        error = self._target.connect_ex(("127.0.0.1", self.proxy.target_port))
        if error == 0:
            self._connected = True
        elif error != errno.EINPROGRESS:
            self._fail()

    def _read(self, pipe) -> None:
        try:
            data = pipe.source.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self._fail()
            return
        if not data:
            pipe.ended = True
            return
        proxy, moment = self.proxy, 0.0
        pipe.size += len(data)
        if proxy.mode == "hang":
            proxy.hit.bytes_held += len(data)
        elif proxy.mode == "delay":
            proxy.hit.bytes_delayed += len(data)
            moment = time.monotonic() + proxy.milliseconds / 1000
        pipe.chunks.append((moment, memoryview(data)))
        if moment and len(pipe.chunks) == 1:
            pipe.waiting = moment
        # Most often the other side has room: no turn of the selector for it.
        if len(pipe.chunks) == 1 and (pipe.sink is not self._target or self._connected):
            self._flush(pipe)

    def _flush_all(self) -> None:
        for pipe in self._pipes:
            if not self.closed and (pipe.sink is not self._target or self._connected):
                self._flush(pipe)
        self._finish()

    def _flush(self, pipe) -> None:
        proxy = self.proxy
        while pipe.chunks and pipe.waiting is None and proxy.mode != "hang":
            moment, data = pipe.chunks[0]
            if moment and proxy.mode == "delay" and moment > time.monotonic():
                pipe.waiting = moment
                return
            sliced = proxy.mode == "slice" and len(data) > proxy.piece
            try:
                sent = pipe.sink.send(data[: proxy.piece] if sliced else data)
            except BlockingIOError:
                return
            except OSError:
                self._fail()
                return
            pipe.size -= sent
            proxy.count(sent)
            if sent == len(data):
                pipe.chunks.popleft()
            else:
                pipe.chunks[0] = (moment, data[sent:])
            if sliced:
                proxy.hit.bytes_sliced += sent
                proxy.hit.slices += 1
                # The rest later, so that the reader sees the piece alone.
                pipe.waiting = time.monotonic() + proxy.milliseconds / 1000 if pipe.chunks else None
                return

    def _finish(self) -> None:
        """Passes ends on once everything before them has gone, and closes when both have."""
        if self.closed:
            return
        for pipe in self._pipes:
            if pipe.ended and not pipe.chunks and not pipe.shut and self.proxy.mode != "hang" and self._connected:
                pipe.shut = True
                try:
                    pipe.sink.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
        if all(pipe.shut for pipe in self._pipes):
            self._close()
        else:
            self.arrange()

    def _fail(self) -> None:
        """One end broke: so does the other, after the black hole if there is one."""
        if self.proxy.mode == "hang":
            self._broken = True
            self.arrange()
        else:
            self.reset()

    def _close(self) -> None:
        if self.closed:
            return
        self.closed = True
        for end in (self._client, self._target):
            self._register(end, 0)
            end.close()
        self.proxy.forget(self)


class _Pipe:
    """Bytes of one direction."""

    def __init__(self, source: socket.socket, sink: socket.socket):
        self.source = source
        self.sink = sink
        # (moment at which it is due, bytes)
        self.chunks = collections.deque()
        self.size = 0
        # The moment of the first chunk while it is not due yet.
        self.waiting = None
        self.ended = False
        self.shut = False
