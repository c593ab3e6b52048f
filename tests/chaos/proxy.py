"""A TCP proxy on loopback that breaks the network on demand and counts what each fault really hit.

One fault at a time: a second waits for the first. Each blocks its caller until it is over, so that a run's own thread
calls it as one step.
"""

import collections
import dataclasses
import queue
import selectors
import socket
import threading
import time

from ports import free_port
from proxy_connection import RESET, Connection

# Faults under which bytes wait for their moment.
PACED = ("delay", "slice")


@dataclasses.dataclass
class Hit:
    """What one fault did. Connections and bytes that it never touched are not in it."""

    fault: str
    seconds: float = 0.0
    connections_reset: int = 0
    # Dialled while the network was cut: accepted and reset at once, since what the kernel refuses nobody can count.
    connections_refused: int = 0
    # Dialled while everything hung, and left without an answer.
    connections_held: int = 0
    bytes_held: int = 0
    bytes_delayed: int = 0
    bytes_sliced: int = 0
    # Pieces that went out while slicing.
    slices: int = 0

    @property
    def missed(self) -> bool:
        """No connection and no byte met the fault: it proves nothing."""
        return not (
            self.connections_reset
            or self.connections_refused
            or self.connections_held
            or self.bytes_held
            or self.bytes_delayed
            or self.bytes_sliced
        )


class Proxy:
    """Forwards 127.0.0.1:port to 127.0.0.1:target_port. A target that is down resets its clients.

    Open it before a broker starts that advertises it, so that nobody else takes the port; the target may be set later.
    """

    def __init__(self, target_port: int = 0, port: int = 0):
        self.target_port = target_port
        self.port = port or free_port()
        # Hits by fault, and faults that missed.
        self.hits = collections.Counter()
        self.misses = collections.Counter()
        # For the connections: what holds now.
        self.mode = None
        self.milliseconds = 0
        self.piece = 0
        self.hit = Hit("none")
        self._one_fault = threading.Lock()
        self._over = threading.Event()
        self._connections = set()
        self._carried = 0
        self._orders = queue.Queue()
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self.selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        self._listener.setblocking(False)
        self.selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self.selector.register(self._woken, selectors.EVENT_READ, self._obey)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"proxy-{self.port}", daemon=True)
        self._thread.start()

    def cut(self, seconds=None) -> Hit:
        """Resets every connection, on both sides, and each new one until it is over."""
        return self._fault("cut", seconds)

    def hang(self, seconds=None) -> Hit:
        """A black hole: connections stay and new ones are taken, but nothing goes on, not even an end."""
        return self._fault("hang", seconds)

    def delay(self, milliseconds: float, seconds=None) -> Hit:
        """Everything arrives so much later, in both directions."""
        return self._fault("delay", seconds, milliseconds)

    def slice(self, size: int, seconds=None, milliseconds: float = 1) -> Hit:
        """Goes on in pieces of `size` bytes, each a write of its own and so long after the one before.

        Without a pause readers mostly find several pieces at once, which is no fault. 1 ms is the shortest there is; so
        a direction carries at most `size` KB/s.
        """
        return self._fault("slice", seconds, milliseconds, size)

    def heal(self) -> None:
        """Ends the fault that another thread began, if there is one."""
        self._over.set()

    def connections(self) -> int:
        return self._ask(lambda: len(self._connections))

    def carried(self) -> int:
        """Bytes forwarded since the start, both directions."""
        return self._ask(lambda: self._carried)

    def close(self) -> None:
        if self._thread.is_alive():
            self.heal()
            self._ask(self._stop)
            self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _fault(self, mode: str, seconds, milliseconds: float = 0, piece: int = 0) -> Hit:
        with self._one_fault:
            self._over.clear()
            began = time.monotonic()
            hit = Hit(mode)
            self._ask(lambda: self._begin(hit, mode, milliseconds, piece))
            self._over.wait(seconds)
            self._ask(self._end)
            hit.seconds = time.monotonic() - began
            (self.misses if hit.missed else self.hits)[mode] += 1
            return hit

    # What follows runs in the proxy's own thread.

    def _begin(self, hit: Hit, mode: str, milliseconds: float, piece: int) -> None:
        self.hit, self.mode, self.milliseconds, self.piece = hit, mode, milliseconds, piece
        for connection in list(self._connections):
            if mode == "cut":
                connection.reset()
                hit.connections_reset += 1
            else:
                connection.begun()

    def _end(self) -> None:
        self.mode = None
        for connection in list(self._connections):
            connection.released()

    def _accept(self, _events) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:
                # Gone before it was taken, or no descriptor left; the next turn tries again.
                return
            if self.mode == "cut":
                self.hit.connections_refused += 1
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                client.close()
                continue
            if self.mode == "hang":
                self.hit.connections_held += 1
            connection = Connection(self, client)
            # A target that is down has ended it already.
            if not connection.closed:
                self._connections.add(connection)

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def count(self, sent: int) -> None:
        self._carried += sent

    def _obey(self, _events) -> None:
        try:
            self._woken.recv(4096)
        except BlockingIOError:
            pass
        while True:
            try:
                order, answer = self._orders.get_nowait()
            except queue.Empty:
                return
            try:
                answer.put((order(), None))
            except BaseException as error:  # pylint: disable=broad-except
                answer.put((None, error))

    def _stop(self) -> None:
        self._closing = True

    def _run(self) -> None:
        while not self._closing:
            for key, events in self.selector.select(self._patience()):
                key.data(events)
            if self.mode in PACED:
                now = time.monotonic()
                for connection in list(self._connections):
                    connection.due(now)
        for connection in list(self._connections):
            connection.reset()
        self.selector.close()
        self._listener.close()
        self._woken.close()
        self._wake.close()

    def _patience(self):
        """Seconds until the first bytes that wait are due; None to wait for whatever comes."""
        if self.mode not in PACED:
            return None
        moments = [moment for connection in self._connections for moment in connection.moments()]
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _ask(self, order):
        """Has `order` run in the proxy's thread, and waits for what it returns."""
        answer = queue.Queue()
        self._orders.put((order, answer))
        self._wake.send(b"!")
        result, error = answer.get(timeout=30)
        if error is not None:
            raise error
        return result

