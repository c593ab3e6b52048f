"""Ports of loopback that stay free for a server while it is down.

The kernel gives outgoing connections ports from 32768 on. A server that is killed and comes back would find its port
taken by one of them, and a client that dials a dead port of that range can even meet itself; so servers live below,
and below 20000, from where scripts/services/redis takes its own.
"""

import random
import socket
import threading

_given = set()
_lock = threading.Lock()


def free_port() -> int:
    with _lock:
        for _ in range(1000):
            port = random.SystemRandom().randrange(10000, 20000)
            if port in _given:
                continue
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            _given.add(port)
            return port
    raise OSError("no free port between 10000 and 20000")
