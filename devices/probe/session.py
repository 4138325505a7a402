"""The probe on a phone: installed once, checked by hash, spoken to in lines (probe/README.md)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from base.deadline import Deadline
from base.errors import DeviceError
from devices.transport import Exec, Process, Transport

PROBE_FOLDER = "/data/local/tmp/zram-writeback-lab"
PROBE_PATH = f"{PROBE_FOLDER}/probe"
Value = str | int | bool


class ProbeFailed(DeviceError):
    """The probe carried a command out and reports an error; ``errno`` is the kernel's name for it or empty."""

    def __init__(self, serial: str, command: str, reply: dict[str, Any]) -> None:
        super().__init__(f"{serial}: probe {command}: {reply.get('error', 'no reason given')}")
        self.errno: str = reply.get("errno", "")
        self.reply = reply


def probe_argv(command: str, **options: Value) -> tuple[str, ...]:
    """The command line of one probe command."""
    return (PROBE_PATH, *_line(command, options).split(" "))


def _line(command: str, options: dict[str, Value]) -> str:
    words = [f"{key}={int(value) if isinstance(value, bool) else value}" for key, value in options.items()]
    return " ".join([command, *words])


class ProbeSession:
    """A running probe that keeps what it holds until the session is closed."""

    def __init__(self, transport: Transport, process: Process) -> None:
        self._transport, self._process = transport, process

    def call(self, command: str, *, seconds: float = 60, **options: Value) -> dict[str, Any]:
        """The reply's fields. Raises ProbeFailed when the probe says no, DeviceLost when it is gone."""
        reply = json.loads(self._process.request(_line(command, options), deadline=Deadline.after(seconds)))
        self._transport.wire.on_phone_s += reply.get("took_ns", 0) / 1e9
        if not reply["ok"]:
            raise ProbeFailed(self._transport.serial, command, reply)
        return dict(reply)


class Probe:
    """The probe of one phone."""

    def __init__(self, transport: Transport, builder: Callable[[str], Path]) -> None:
        self._transport, self._builder = transport, builder
        self._installed = False
        self.sha256 = ""

    def install(self, arch: str) -> None:
        """Build for ``arch``, push unless the phone has the very same file already. Idempotent."""
        if self._installed:
            return
        local = self._builder(arch)
        self.sha256 = hashlib.sha256(local.read_bytes()).hexdigest()
        deadline = Deadline.after(60)
        present, _ = self._transport.execute(
            [Exec(("sha256sum", PROBE_PATH), accept=(0, 1)), Exec(("mkdir", "-p", PROBE_FOLDER))], deadline=deadline
        )
        if self.sha256 not in present.stdout:
            self._transport.push(local, PROBE_PATH, mode=0o755, deadline=deadline)
        self._installed = True

    def call(self, command: str, *, seconds: float = 60, **options: Value) -> dict[str, Any]:
        """One command in a process of its own."""
        run = Exec(probe_argv(command, **options), accept=(0, 1))
        result = self._transport.execute([run], deadline=Deadline.after(seconds))[0].check()
        reply: dict[str, Any] = json.loads(result.text)
        if not reply["ok"]:
            raise ProbeFailed(self._transport.serial, command, reply)
        return reply

    @contextmanager
    def session(self, *, alarm_s: int) -> Iterator[ProbeSession]:
        """A probe that ends with this scope, with the cable, or after ``alarm_s``."""
        argv = (PROBE_PATH, "serve", f"alarm={alarm_s}")
        process = self._transport.start(argv, deadline=Deadline.after(30))
        try:
            yield ProbeSession(self._transport, process)
        finally:
            process.close()
