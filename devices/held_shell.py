"""A shell on a phone that stays open: a round trip then costs neither a process of adbd's nor a su.

Scripts go in by its stdin. Each runs in a subshell, which its own end or the kernel may end, and a line with the
script's token says on both streams when that is over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from base.deadline import Deadline

_STDOUT, _STDERR, _EXIT = 1, 2, 3
_STREAMS = (_STDOUT, _STDERR)


class OpenShell(Protocol):
    """A shell's connection, as ``devices.adb.ShellConnection``."""

    def send_stdin(self, data: bytes, deadline: Deadline) -> None: ...

    def piece(self, deadline: Deadline) -> tuple[int, bytes]: ...

    def is_quiet(self) -> bool: ...

    def close(self) -> None: ...


class HeldShell:
    """Runs scripts in one shell, which ``open_shell(what, deadline)`` opens when it is needed."""

    def __init__(self, open_shell: Callable[[str, Deadline], OpenShell]) -> None:
        self._open = open_shell
        self._shell: OpenShell | None = None

    def run(
        self, script: str, token: str, what: str, deadline: Deadline, refuse: Callable[[int], None]
    ) -> tuple[bytes, bytes, int]:
        """Return both streams of a script, and an exit status that means something only where the shell itself ended.

        ``refuse`` is given how many bytes have come, and raises when that is too many. Raises DeviceError as the
        connection does; the next script then gets a new shell.
        """
        shell = self._ready(what, deadline)
        over = f"{token} over\n".encode()
        ask = f"(\n{script}\n)\necho {over.decode().strip()}; echo {over.decode().strip()} >&2\n"
        streams = {number: bytearray() for number in _STREAMS}
        size = 0
        try:
            shell.send_stdin(ask.encode(errors="surrogateescape"), deadline)
            while not all(streams[number].endswith(over) for number in _STREAMS):
                packet, payload = shell.piece(deadline)
                if packet == _EXIT:
                    self.close()
                    return bytes(streams[_STDOUT]), bytes(streams[_STDERR]), payload[0]
                size += len(payload)
                refuse(size)
                if packet in streams:
                    streams[packet] += payload
        except BaseException:
            # What comes later would be taken for the answer to the next script.
            self.close()
            raise
        out, err = (bytes(streams[number][: -len(over)]) for number in _STREAMS)
        return out, err, 0

    def close(self) -> None:
        """Let the shell end; never raises."""
        if self._shell is not None:
            self._shell.close()
            self._shell = None

    def _ready(self, what: str, deadline: Deadline) -> OpenShell:
        """A connection that was cut while nothing ran is no loss: nothing was asked of it."""
        if self._shell is not None and not self._shell.is_quiet():
            self.close()
        if self._shell is None:
            self._shell = self._open(what, deadline)
        return self._shell
