"""Writes the kernel's initramfs format (cpio "newc") without root: owners, setuid bits and device nodes are only data.

The format is in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class _Entry:
    mode: int
    uid: int = 0
    gid: int = 0
    content: bytes | Path = b""
    device: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Archive:
    """Files to be, by path without the leading slash. Parent folders are made where they are missing."""

    _entries: dict[str, _Entry] = field(default_factory=dict)

    def folder(self, path: str, mode: int = 0o755, *, uid: int = 0, gid: int = 0) -> None:
        self._add(path, _Entry(stat.S_IFDIR | mode, uid, gid))

    def file(self, path: str, content: bytes | Path, mode: int = 0o644) -> None:
        self._add(path, _Entry(stat.S_IFREG | mode, content=content))

    def link(self, path: str, target: str) -> None:
        self._add(path, _Entry(stat.S_IFLNK | 0o777, content=target.encode()))

    def character_device(self, path: str, major: int, minor: int, mode: int = 0o600) -> None:
        self._add(path, _Entry(stat.S_IFCHR | mode, device=(major, minor)))

    def __contains__(self, path: str) -> bool:
        return path in self._entries

    def _add(self, path: str, entry: _Entry) -> None:
        parent, _, _ = path.rpartition("/")
        if parent and parent not in self._entries:
            self.folder(parent)
        self._entries[path] = entry

    def write(self, out: BinaryIO) -> None:
        """The archive with its end mark, padded so that another archive may follow."""
        for inode, (path, entry) in enumerate(self._entries.items(), start=1):
            _write_entry(out, inode, path, entry)
        _write_entry(out, 0, "TRAILER!!!", _Entry(0))
        _pad(out, 512)


def _write_entry(out: BinaryIO, inode: int, path: str, entry: _Entry) -> None:
    content = entry.content.read_bytes() if isinstance(entry.content, Path) else entry.content
    name = path.encode() + b"\0"
    numbers = (inode, entry.mode, entry.uid, entry.gid, 1, 0, len(content), 0, 0, *entry.device, len(name), 0)
    out.write(b"070701" + b"".join(b"%08x" % number for number in numbers) + name)
    _pad(out, 4)
    out.write(content)
    _pad(out, 4)


def _pad(out: BinaryIO, to: int) -> None:
    out.write(bytes(-out.tell() % to))
