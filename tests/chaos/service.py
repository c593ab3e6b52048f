"""What the three services have in common: a directory, a script of scripts/services, a process, and an end.

Whatever runs is in a registry; end_all() kills it, at exit and whenever the harness is interrupted.
"""

from __future__ import annotations

import atexit
import os
import pathlib
import signal
import subprocess
import threading
import time

from process import Process

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "services"

_running = set()
_registry = threading.Lock()


class ServiceError(Exception):
    """A service did not do what it was told, with the end of its log."""


class Service:
    """A service in a directory of its own. `start` comes first; then kill/restart and pause/resume, until `stop`."""

    # Of the script and of its files in the directory.
    name = ""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory).resolve()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = 0
        self._process: Process | None = None
        self._script: subprocess.Popen | None = None

    def start(self) -> None:
        """Runs it for the first time; returns when it answers."""
        raise NotImplementedError

    def restart(self, seconds: float = 60) -> float:
        """Runs it again on the same data and port. Returns when it answers, with the seconds that this took."""
        if self.alive():
            raise ServiceError(f"{self.name} is running")
        began = time.monotonic()
        self._start_again(seconds)
        return time.monotonic() - began

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self._running().kill()
        # Its number may soon be another process's, which the script's `stop` would end.
        self._file("pid").unlink(missing_ok=True)

    def pause(self) -> None:
        """SIGSTOP: connections stay, nothing answers."""
        self._running().pause()

    def resume(self) -> None:
        self._running().resume()

    def stop(self) -> None:
        """Ends it in good order, whatever state it is in."""
        if self.alive():
            self._process.resume()
            self._run_script("stop", 60)
        self._forget()

    def alive(self) -> bool:
        """Runs, or is paused."""
        return self._process is not None and self._process.alive()

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def process(self) -> Process:
        return self._running()

    def _start_again(self, seconds: float) -> None:
        raise NotImplementedError

    def _running(self) -> Process:
        if not self.alive():
            raise ServiceError(f"{self.name} is not running\n{self.log_tail()}")
        return self._process

    def _run_script(self, action: str, seconds: float, **environment: str) -> None:
        """A session of its own: Ctrl-C in a terminal is for the harness, which ends its services itself."""
        self._register()
        command = [str(SCRIPTS / self.name), action, str(self.directory)]
        with open(self.directory / "script.log", "wb") as log:
            self._script = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            status = self._script.wait(seconds)
        except subprocess.TimeoutExpired:
            self._end()
            raise ServiceError(f"{self.name} did not {action} in {seconds} s\n{self.log_tail()}") from None
        except BaseException:
            # Interrupted: the script would go on by itself.
            self._end()
            raise
        finally:
            self._script = None
        if status:
            said = (self.directory / "script.log").read_text("utf-8", "replace")
            raise ServiceError(f"{self.name} did not {action}: {said}")

    def _found(self) -> None:
        """Takes over the process that the script began."""
        self._process = Process(int(self._file("pid").read_text()))

    def _variable(self, name: str) -> str:
        for line in self._file("env").read_text().splitlines():
            if line.startswith(name + "="):
                return line.split("=", 1)[1]
        raise ServiceError(f"{self.name} left no {name}")

    def _file(self, suffix: str) -> pathlib.Path:
        return self.directory / f"{self.name}.{suffix}"

    def log(self) -> str:
        """What it logged since its last start, or since its first."""
        try:
            return self._file("log").read_text("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def log_tail(self) -> str:
        return "\n".join(self.log().splitlines()[-20:])

    def _register(self) -> None:
        with _registry:
            _running.add(self)

    def _forget(self) -> None:
        with _registry:
            _running.discard(self)

    def _end(self) -> None:
        """SIGKILL to all there is of it, also to a start that is half done."""
        script = self._script
        if script is not None and script.poll() is None:
            os.killpg(script.pid, signal.SIGKILL)
            try:
                process = Process(int(self._file("pid").read_text()))
                # The file may be left over from an earlier run, and its number another's.
                if os.path.realpath(f"/proc/{process.pid}/cwd").startswith(str(self.directory)):
                    process.kill()
            except (OSError, ValueError):
                pass
        if self.alive():
            self._process.kill()
        self._forget()


def end_all() -> None:
    """Kills every service that runs. Their data stays."""
    with _registry:
        services = list(_running)
    for service in services:
        service._end()  # pylint: disable=protected-access


atexit.register(end_all)


def wait_until(reached, what: str, seconds: float, pause: float = 0.02):
    """Calls `reached` until it returns something true, which is returned. An OSError in it means not yet."""
    deadline = time.monotonic() + seconds
    while True:
        problem = None
        try:
            result = reached()
            if result:
                return result
        except OSError as error:
            problem = error
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s" + (f" ({problem})" if problem else ""))
        time.sleep(pause)
