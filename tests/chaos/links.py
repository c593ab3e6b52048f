"""A service paused, or the way to it broken, for a while."""

import time

from dataclasses import dataclass


@dataclass
class Break:
    kind: str
    # Whether anything met it.
    something: bool


def broken(service, proxy, kind, seconds, draw):
    """Returns when it is over."""
    if kind == "SIGSTOP":
        service.pause()
        time.sleep(seconds)
        service.resume()
        return Break(kind, True)
    if kind == "delay":
        hit = proxy.delay(draw.uniform(20, 500), seconds)
    elif kind == "slice":
        # 64 to 1,460 KB/s at most.
        hit = proxy.slice(draw.randint(64, 1_460), seconds)
    else:
        hit = getattr(proxy, kind)(seconds)
    return Break(kind, not hit.missed)
