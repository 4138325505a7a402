"""Files that must survive a power cut: appended line by line, or replaced as a whole.

A power cut in the middle of an append leaves a torn last line: a part of it, or NULs in place of bytes that never
reached the disk. What such a line announced was never begun, because nothing begins before its line is synced. So it is
cut off before the next line is added, and no later line is ever glued to it.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

_BLOCK = 1 << 16
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file of JSON objects, counted from 1; ``record`` is None where it cannot be read.

    ``torn`` is the last line if a power cut broke it off.
    """

    number: int
    record: dict[str, Any] | None
    last: bool
    torn: bool


def append_line(path: Path, line: bytes, *, mode: int = 0o644) -> None:
    """Add one line (a JSON object, without newline) and sync it; cut off a torn last line before.

    Raises OSError with the file as it was before, but for the torn line.
    """
    is_new = not path.exists()
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        size = os.fstat(fd).st_size
        begin, tail = _last_line(fd, size)
        if tail and _is_torn(tail):
            os.ftruncate(fd, begin)
            size = begin
        elif tail and not tail.endswith(b"\n"):
            line = b"\n" + line
        _write_all_or_nothing(fd, size, line + b"\n")
    finally:
        os.close(fd)
    if is_new:
        sync_folder(path.parent)


def read_lines(path: Path, *, private: bool = False) -> list[Line]:
    """Every line of a file of JSON objects; a blank line is one that cannot be read.

    ``private``: it is obeyed, so nobody else may have written it. Raises OSError, also for a link and for all else that
    is no file.
    """
    lines = [line + b"\n" for line in _read(path, private=private).split(b"\n")]
    lines[-1] = lines[-1][:-1]
    if not lines[-1]:
        del lines[-1]
    last = len(lines)
    return [
        Line(number, read_object(line), number == last, number == last and _is_torn(line))
        for number, line in enumerate(lines, start=1)
    ]


def why_not_private(found: os.stat_result) -> str:
    """Who else could have written what was found there; empty if nobody could but root and this user."""
    if found.st_uid not in (os.geteuid(), 0):
        return f"it belongs to uid {found.st_uid}"
    return f"others may write it (mode {stat.S_IMODE(found.st_mode):04o})" if found.st_mode & _OTHERS_WRITE else ""


def read_object(line: bytes) -> dict[str, Any] | None:
    """The JSON object that a line holds, or None for anything else: torn, NULs, no UTF-8, no object."""
    try:
        record = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def replace_file(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, and whoever comes after a power cut, sees the old or the new one.

    The temporary file has a name that nobody can guess, and a link in its place is never followed. Raises OSError.
    """
    data = content.encode("utf-8", errors="backslashreplace") if isinstance(content, str) else content
    with replacing(path) as temporary:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        with os.fdopen(fd, "wb") as file:
            file.write(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to beside ``path``; on leaving it is synced and takes its place, or is gone after an error."""
    temporary = path.with_name(f".{path.name[:80]}.{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        fd = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make names that were added to a folder, or removed from it, survive a power cut. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def open_regular(path: Path) -> BinaryIO:
    """Open a file that others may have put there. Raises OSError, also for a link and for all else that is no file."""
    # A FIFO would be waited for, a link would lead to anything.
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "a link, not a file", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(fd, "rb")


def _read(path: Path, *, private: bool) -> bytes:
    with open_regular(path) as file:
        if private and (reason := why_not_private(os.fstat(file.fileno()))):
            raise PermissionError(errno.EPERM, reason, str(path))
        return file.read()


def _is_torn(tail: bytes) -> bool:
    """A line that was written whole, but is no record, is kept: whoever reads the file names it."""
    return read_object(tail) is None and (b"\0" in tail or not tail.endswith(b"\n"))


def _last_line(fd: int, size: int) -> tuple[int, bytes]:
    """Where the last line begins, and the line with its newline if it has one."""
    begin, tail = size, b""
    while begin > 0 and b"\n" not in tail[:-1]:
        at = max(0, begin - _BLOCK)
        tail = os.pread(fd, begin - at, at) + tail
        begin = at
    cut = tail.rfind(b"\n", 0, max(0, len(tail) - 1)) + 1
    return begin + cut, tail[cut:]


def _write_all_or_nothing(fd: int, size_before: int, data: bytes) -> None:
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.fsync(fd)
    except OSError:
        with suppress(OSError):
            os.ftruncate(fd, size_before)
        raise
