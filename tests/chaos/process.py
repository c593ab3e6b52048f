"""A process of this machine, known by its id and its start, so that a signal never meets one that took over the id."""

import os
import signal
import time


class Process:
    """Signals return once what they ask for has happened."""

    def __init__(self, pid: int):
        self.pid = pid
        self._started = _status(pid)[1]
        if self._started is None:
            raise ProcessLookupError(f"no process {pid}")

    def state(self) -> str:
        """The kernel's letter for it, such as R, S, T (stopped); X once it is gone, also where nobody reaped it yet."""
        state, started = _status(self.pid)
        if started != self._started:
            return "X"
        # A first thread that is dead still holds the ports as long as another has not ended.
        return "X" if state in "XZ" and _threads(self.pid) <= 1 else state

    def alive(self) -> bool:
        return self.state() != "X"

    def kill(self, seconds: float = 30) -> None:
        self._signal(signal.SIGKILL)
        self._until(lambda state: state == "X", "gone", seconds)

    def pause(self, seconds: float = 10) -> None:
        self._signal(signal.SIGSTOP)
        self._until(lambda state: state in "TX", "stopped", seconds)

    def resume(self, seconds: float = 10) -> None:
        self._signal(signal.SIGCONT)
        self._until(lambda state: state != "T", "running", seconds)

    def resident(self) -> int:
        """Bytes of memory it holds."""
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def connections_to(self, port: int) -> int:
        """Connections it has open to `port` of loopback: none may go around a proxy that is cut."""
        ends = set()
        with open(f"/proc/{self.pid}/net/tcp", encoding="ascii") as file:
            for line in list(file)[1:]:
                fields = line.split()
                # Address and port in hexadecimal digits; 01 is an established connection.
                if fields[3] == "01" and fields[2] == f"0100007F:{port:04X}":
                    ends.add(f"socket:[{fields[9]}]")
        return sum(_target(entry.path) in ends for entry in os.scandir(f"/proc/{self.pid}/fd"))

    def _signal(self, number: int) -> None:
        if self.alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass

    def _until(self, reached, name: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not reached(self.state()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {self.pid} is not {name} after {seconds} s")
            time.sleep(0.002)


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def _threads(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _status(pid: int):
    """State and start, in clock ticks since the machine's."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return "X", None
    # The name stands in parentheses and may hold any character.
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], int(fields[19])
