"""The files of the embedded stores, read and damaged from outside while nobody holds them."""

import json
import os
import struct

# length u32 | crc32c u32 | base offset u64 | count u32 | body length u32 | ends: count × u32 | LZ4 of body
PREFIX = struct.Struct("<II")
HEADER = struct.Struct("<QII")
CHUNK = 1 << 20


class TopicLog:
    """The segment that is written to. What was damaged on purpose is known, so that the rest can still be walked."""

    def __init__(self, data):
        self.directory = data / "topic"
        # Where damaged records start -> where they end.
        self.damaged = {}

    def segment(self):
        return max(self.directory.glob("*.log"), default=None)

    def size(self):
        segment = self.segment()
        return segment.stat().st_size if segment else 0

    def records(self):
        """(start, end) of each whole record; those that were damaged are among them."""
        data, at, found = self.segment().read_bytes(), 0, []
        while at + PREFIX.size <= len(data):
            end = self.damaged.get(at) or at + PREFIX.size + PREFIX.unpack_from(data, at)[0]
            if end > len(data):
                break
            found.append((at, end))
            at = end
        return found

    def events(self, start, end):
        """The events of the records between two places."""
        data, at, found = self.segment().read_bytes(), start, []
        while at < end:
            content = at + PREFIX.size
            length, _ = PREFIX.unpack_from(data, at)
            _, count, _ = HEADER.unpack_from(data, content)
            ends = struct.unpack_from(f"<{count}I", data, content + HEADER.size)
            body = unpacked(data[content + HEADER.size + 4 * count : content + length])
            found += [json.loads(body[first:last])["event"] for first, last in zip((0, *ends), ends)]
            at = content + length
        return found

    def cut(self, offset):
        os.truncate(self.segment(), offset)
        self.damaged = {start: end for start, end in self.damaged.items() if end <= offset}


class Journal:
    """The journal that the state is written to first: filled with zeros in advance, behind what was written."""

    def __init__(self, data):
        self.directory = data / "store"

    def path(self):
        return max(self.directory.glob("*.jnl"), key=lambda path: int(path.stem), default=None)

    def end(self):
        """Behind the last byte that is not zero."""
        with open(self.path(), "rb") as file:
            at = file.seek(0, os.SEEK_END)
            while at:
                first = max(0, at - CHUNK)
                file.seek(first)
                written = file.read(at - first).rstrip(b"\0")
                if written:
                    return first + len(written)
                at = first
        return 0

    def cut(self, offset, zeros):
        """Loses what is behind `offset`; with `zeros` the file keeps its length, as it does where a machine stops."""
        length = self.path().stat().st_size
        os.truncate(self.path(), offset)
        if zeros:
            os.truncate(self.path(), length)


def flip(path, bit):
    with open(path, "r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def unpacked(data):
    """What an LZ4 block holds."""
    out, at = bytearray(), 0

    def more(length):
        nonlocal at
        if length == 15:
            while True:
                at += 1
                length += data[at - 1]
                if data[at - 1] != 255:
                    break
        return length

    while True:
        token = data[at]
        at += 1
        literals = more(token >> 4)
        out += data[at : at + literals]
        at += literals
        if at >= len(data):
            return bytes(out)
        distance = data[at] | data[at + 1] << 8
        at += 2
        start = len(out) - distance
        # What is copied may begin to repeat itself on the way.
        for index in range(more(token & 15) + 4):
            out.append(out[start + index])
