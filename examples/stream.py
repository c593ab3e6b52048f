#!/usr/bin/env python3
"""Prints live events of pulsehub: `stream.py URL [COUNT]`, for example
`stream.py 'http://localhost:8080/stream?types=PullRequestEvent&bots=without'`.

Nothing but Python's own library is needed: it reads Server-Sent Events. It reconnects by itself, goes on where it was,
and says where something is missing.
"""

import http.client
import json
import sys
import time
import urllib.error
import urllib.request

SILENCE = 15
"""A server that says nothing for so many seconds is gone: it sends a heartbeat every 5 s."""

LONGEST_PAUSE = 15
"""Seconds between two attempts to connect, at most."""


def messages(url):
    """Every message of the stream, for ever."""
    last, pause = None, 0.5
    while True:
        headers = {"Accept": "text/event-stream"}
        if last:
            headers["Last-Event-ID"] = last
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SILENCE) as answer:
                for identity, data in events(answer):
                    pause = 0.5
                    yield json.loads(data)
                    # Only now: what was not handled comes again.
                    last = identity or last
        except urllib.error.HTTPError as error:
            if error.code < 500:
                # Trying again would not help.
                raise SystemExit(f"{error}: {error.read().decode()}") from error
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def events(lines):
    """Id and data of each event in a stream of lines, as the HTML standard has them."""
    identity, data = None, []
    for line in lines:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "id":
            identity = value
        elif name == "data":
            data.append(value)
        elif not name and data:
            yield identity, "\n".join(data)
            identity, data = None, []


def main(url, count="0"):
    left = int(count)
    for message in messages(url):
        if message["type"] == "gap":
            lost = message["lost"]
            print("something" if lost is None else f"{lost} events", "missing here", file=sys.stderr, flush=True)
        if message["type"] != "event":
            continue
        event = message["data"]["event"]
        print(message["cursor"], event["type"], event["repo"]["name"], event["actor"]["login"], flush=True)
        left -= 1
        if left == 0:
            return


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        pass
