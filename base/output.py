"""What is printed for people: it survives a terminal that lacks characters, a reader who left and a full disk.

Nothing that is printed may stop a phone from being put back. So a stream of this module takes every text and every
write succeeds; what became of it is asked for afterwards (``Output.fault``).
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import re
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from base.errors import EXIT_REFUSED
from base.text import clean

# What pytest and the progress bar send to a terminal: colours, cursor up, erase in line, carriage return.
_DRAWING = re.compile(r"(\x1b\[[0-9;]*[mAK]|\r)")
# What reports are written with, for terminals that have ASCII only.
_PLAIN = str.maketrans({
    "\N{MICRO SIGN}": "u", "\N{DEGREE SIGN}": "deg ", "\N{MULTIPLICATION SIGN}": "x", "\N{PLUS-MINUS SIGN}": "+/-",
    "\N{EN DASH}": "-", "\N{EM DASH}": "-", "\N{MIDDLE DOT}": "-", "\N{RIGHTWARDS ARROW}": "->",
    "\N{HORIZONTAL ELLIPSIS}": "...", "\N{REPLACEMENT CHARACTER}": "?",
})  # fmt: skip


def _spelt_in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return lacking.translate(_PLAIN).encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error("lab-plain", _spelt_in_ascii)


class _Descriptor(io.RawIOBase):
    """Writes to a file descriptor until that fails; after that, what is written is gone."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.fault: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return self.fault is None and os.isatty(self._fd)

    def write(self, data: object) -> int:
        rest = memoryview(data).cast("B")  # type: ignore[arg-type]
        size = len(rest)
        while rest and self.fault is None:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                # Another program that shares the terminal made it non-blocking.
                select.select([], [self._fd], [])
            except OSError as error:
                self.fault = error
        return size


class Output(io.TextIOWrapper):
    """A text stream on a descriptor to which writing never fails; ``fault`` says what went wrong, if anything.

    All text is cleaned. ``drawing``: escape sequences for colours and for the progress bar pass.
    """

    def __init__(self, fd: int, *, encoding: str = "utf-8", drawing: bool = False) -> None:
        self._descriptor = _Descriptor(fd)
        self._drawing = drawing
        super().__init__(
            io.BufferedWriter(self._descriptor), encoding=encoding, errors="lab-plain", line_buffering=True
        )

    @property
    def fault(self) -> OSError | None:
        self.flush()
        return self._descriptor.fault

    def write(self, text: str) -> int:
        if not self._drawing:
            super().write(clean(text))
            return len(text)
        parts = _DRAWING.split(text)
        parts[::2] = [clean(part) for part in parts[::2]]
        super().write("".join(parts))
        return len(text)


def output_like(stream: TextIO | None, fd: int, *, drawing: bool = False) -> Output:
    """An output on descriptor ``fd`` in the encoding that Python chose for ``stream``."""
    if stream is not None:
        stream.flush()
    return Output(fd, encoding=(stream.encoding if stream else None) or "utf-8", drawing=drawing)


def open_closed_descriptors() -> None:
    """Give stdin, stdout and stderr that are closed to /dev/null.

    Else the next file that is opened would get the number, and what is printed would go into that file.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), fd)


@contextmanager
def surviving_output(*, drawing: bool = False) -> Iterator[tuple[Output, Output]]:
    """``sys.stdout`` and ``sys.stderr`` as outputs that survive, for this scope."""
    before = sys.stdout, sys.stderr
    streams = output_like(before[0], 1, drawing=drawing), output_like(before[1], 2, drawing=drawing)
    sys.stdout, sys.stderr = streams
    try:
        yield streams
    finally:
        for stream in streams:
            stream.flush()
        sys.stdout, sys.stderr = before


def status_with(status: int, stdout: Output) -> int:
    """The exit status of a command whose stdout met a fault, which is told.

    A reader who left, as ``head`` does, had what it wanted. A full disk has lost what the command was asked for.
    """
    fault = stdout.fault
    if fault is None or fault.errno == errno.EPIPE:
        return status
    tell(f"standard output: cannot write: {fault.strerror}")
    return status or EXIT_REFUSED


def tell(text: str) -> None:
    """One message for people on stderr, cleaned; it never fails."""
    # A stream that somebody else put there, as a test does, is theirs.
    stream = output_like(sys.stderr, 2) if sys.stderr in (None, sys.__stderr__) else sys.stderr
    print(f"lab: {clean(text)}", file=stream, flush=True)
