"""QEMU's control socket (QMP): what a lab cannot do to a real phone.

Each command has its own connection, because QEMU serves one client at a time and several processes may ask.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any, Protocol

from base.deadline import Deadline
from base.errors import CommandFailed, DeviceLost, DeviceTimeout

_COMMAND_S = 10.0


class _Stream(Protocol):
    def write(self, data: bytes, /) -> int: ...

    def flush(self) -> None: ...

    def readline(self) -> bytes: ...


class Qmp:
    """Commands to the QEMU that listens on ``path``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def execute(self, command: str, *, deadline: Deadline | None = None, **arguments: Any) -> Any:
        """What the command returns.

        Raises CommandFailed when QEMU refuses it, DeviceLost when there is no QEMU (any more).
        """
        deadline = deadline or Deadline.after(_COMMAND_S)
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(max(deadline.left_s, 0.001))
                _connect(link, self._path)
                with link.makefile("rwb") as stream:
                    _receive(stream)  # the greeting
                    _ask(stream, "qmp_capabilities", {})
                    return _ask(stream, command, arguments)
        except TimeoutError as error:
            raise DeviceTimeout(
                f"QEMU did not answer {command} within {deadline.seconds:g} s ({self._path})"
            ) from error
        except OSError as error:
            raise DeviceLost(f"no QEMU answers {command} at {self._path}: {error}") from error


def _connect(link: socket.socket, path: Path) -> None:
    """By way of the folder's descriptor: a socket's path has at most 107 bytes, a state folder's may be longer."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        link.connect(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def _ask(stream: _Stream, command: str, arguments: dict[str, Any]) -> Any:
    stream.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
    stream.flush()
    while True:
        message = _receive(stream)
        if "error" in message:
            raise CommandFailed(f"QMP {command}", 1, message["error"]["desc"])
        if "return" in message:
            return message["return"]


def _receive(stream: _Stream) -> dict[str, Any]:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise ConnectionError("the connection ended")
    message: dict[str, Any] = json.loads(line)
    return message
