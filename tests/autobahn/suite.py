"""The suite's cases: fetched once, turned into Python 3, and loaded."""

import builtins
import codecs
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import types

VERSION = "25.10.1"
SHA256 = "b083d6e15330fc16f3e5f0975cce2b15f21bfa0c6db09547316b1852c6dbd6df"

# What the cases name of Autobahn's library.
STATES = {"STATE_CLOSED": 0, "STATE_CONNECTING": 1, "STATE_CLOSING": 2, "STATE_OPEN": 3}


def cache():
    """Beside what else is fetched for tests."""
    root = pathlib.Path(__file__).resolve().parents[2]
    return pathlib.Path(os.environ.get("PULSEHUB_SERVICES_CACHE") or root / "target" / "services") / "autobahn"


def archive():
    """The suite as PyPI has it, checked."""
    name = f"autobahntestsuite-{VERSION}.tar.gz"
    path = cache() / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as directory:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
            wanted = f"autobahntestsuite=={VERSION}"
            # Its Python 2 is not run: only its text is wanted.
            done = subprocess.run([*pip, "--dest", directory, wanted], capture_output=True, text=True)
            found = pathlib.Path(directory) / name
            if not found.exists():
                sys.exit(f"cannot fetch {wanted} from PyPI:\n{done.stdout}{done.stderr}")
            found.rename(path)
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        sys.exit(f"{path} is not the archive that was tested with")
    return path


def converted(text):
    """The text of a case in Python 3. Its strings are octets: here each character is one."""
    text = text.expandtabs(3)
    text = re.sub(r"(?m)^(\s*)print .*$", r"\1pass", text)
    text = re.sub(r"\(object, (\w+),? ?\)", r"(\1,)", text)
    text = text.replace("import binascii", "from octets import binascii")
    text = text.replace("len(self.payload) / self.p", "len(self.payload) // self.p")
    return text.replace("pickle.dumps(obj1) == pickle.dumps(obj2)", "obj1 == obj2")


class Validator:
    """Says of octets whether they are UTF-8: valid so far, at the end of a character, and where they stop being it."""

    def reset(self):
        self.decoder, self.total = codecs.getincrementaldecoder("utf-8")(), 0

    __init__ = reset

    def validate(self, text):
        for index, octet in enumerate(text.encode("latin-1")):
            try:
                self.decoder.decode(bytes([octet]))
            except UnicodeDecodeError:
                return False, False, index, self.total
            self.total += 1
        return True, not self.decoder.getstate()[0], len(text), self.total


def cases():
    """Pairs of a case's number and its class, without the sections on compression."""
    validator = types.ModuleType("autobahn.websocket.utf8validator")
    validator.Utf8Validator = Validator
    protocol = types.ModuleType("autobahn.websocket.protocol")
    protocol.WebSocketProtocol = types.SimpleNamespace(**STATES)
    sys.modules.update({
        "autobahn": types.ModuleType("autobahn"),
        "autobahn.websocket": types.ModuleType("autobahn.websocket"),
        "autobahn.websocket.protocol": protocol,
        "autobahn.websocket.utf8validator": validator,
    })
    octets = types.ModuleType("octets")
    octets.binascii = types.SimpleNamespace(b2a_hex=lambda text: text.encode("latin-1").hex())
    sys.modules["octets"] = octets
    builtins.xrange, builtins.unichr = range, chr
    with tempfile.TemporaryDirectory() as directory, tarfile.open(archive()) as tar:
        folder = f"autobahntestsuite-{VERSION}/autobahntestsuite/case/"
        for member in tar.getmembers():
            name = member.name.removeprefix(folder)
            if "/" in name or not name.endswith(".py") or re.match(r"case(12|13|9_9)", name):
                continue
            text = converted(tar.extractfile(member).read().decode("latin-1"))
            if name == "__init__.py":
                name = "all_cases.py"
                text = re.sub(r"(?m)^.*(case12|Case12|Case13|case9_9).*$", "", text)
            (pathlib.Path(directory) / name).write_text(text, encoding="utf-8")
        sys.path.insert(0, directory)
        try:
            import all_cases
        finally:
            sys.path.remove(directory)
    return [(case.__name__.removeprefix("Case").replace("_", "."), case) for case in all_cases.Cases]
