"""One process of pulsehub: started, watched from outside, signalled, waited for."""

import http.client
import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.request

from pathlib import Path

import websocket

# How often something is looked at that cannot be waited for.
GLANCE = 0.01
METRICS = re.compile(r"http://127\.0\.0\.1:(\d+)/metrics")


class Pulsehub:
    """A process with its own log; `processes` holds those that run, so that an interrupted harness leaves none."""

    processes = set()

    def __init__(self, binary, config, arguments, log):
        self.log_file = Path(log)
        with open(self.log_file, "wb") as file:
            self.process = subprocess.Popen(
                [str(binary), *map(str, arguments), "--config", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=self.log_file.parent,
                env={"PATH": os.environ.get("PATH", ""), "NO_COLOR": "1"},
                start_new_session=True,
            )
        self.started = time.monotonic()
        self.processes.add(self)

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        return self.log_file.read_text(errors="replace")

    def alive(self):
        return self.process.poll() is None

    def announced(self, before, after, patience=30):
        """The address that the log has between two texts, `None` if the process ends first."""
        pattern = re.compile(re.escape(before) + r"(127\.0\.0\.1:(\d+))" + re.escape(after))
        end = time.monotonic() + patience
        while time.monotonic() < end:
            found = pattern.search(self.log())
            if found:
                return int(found.group(2))
            if not self.alive():
                return None
            time.sleep(GLANCE)
        raise TimeoutError(f"nothing like {before}… in {self.log_file}")

    def port(self):
        """The port for front ends."""
        return self.announced("serving ws://", "/sampling")

    def greet(self):
        """Connects to /sampling and reads the first message: (client, message), or `None` if the process ends first."""
        while self.alive():
            try:
                port = self.port()
                if port:
                    client = websocket.WebSocket(f"ws://127.0.0.1:{port}/sampling")
                    return client, json.loads(client.read())
            except (OSError, TypeError):
                # Not there yet, or killed before it had greeted.
                time.sleep(GLANCE)
        return None

    def metrics(self):
        """Counters without labels, or nothing where the process does not answer, or does not yet."""
        found = METRICS.search(self.log())
        if not found:
            return {}
        try:
            port = found.group(1)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
                text = answer.read().decode()
        except (OSError, http.client.HTTPException):
            return {}
        return {name: float(value) for name, value in re.findall(r"^(\w+) (\S+)$", text, re.MULTILINE)}

    def resident_bytes(self):
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def kill(self):
        """SIGKILL. Whether it was still running, that is, whether the fault hit."""
        hit = self.alive()
        if hit:
            self.process.kill()
        code = self.process.wait()
        self.processes.discard(self)
        return hit and code == -signal.SIGKILL

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, patience):
        """The exit code; an exception where it does not end in time."""
        code = self.process.wait(patience)
        self.processes.discard(self)
        return code


class Serving:
    """Measures, beside whatever else happens, how long a new process takes until it greets a front end."""

    def __init__(self, product):
        self.seconds = None
        self.thread = threading.Thread(target=self.measure, args=[product], daemon=True)
        self.thread.start()

    def measure(self, product):
        greeted = product.greet()
        if greeted:
            self.seconds = time.monotonic() - product.started
            greeted[0].abort()
