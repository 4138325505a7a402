"""The probe on a phone: installed once, checked by hash, spoken to in lines (probe/README.md)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from base.deadline import Deadline
from base.errors import DeviceError
from base.units import NS_PER_S
from devices.probe.commands import Commands, SessionCommands, Value
from devices.probe.decode import ProbeAnswer, parse_answer, read_reply
from devices.transport import Exec, Process, Transport

PROBE_FOLDER = "/data/local/tmp/zram-writeback-lab"
PROBE_PATH = f"{PROBE_FOLDER}/probe"

T = TypeVar("T")


class ProbeFailed(DeviceError):
    """The probe understood a command and says no.

    ``errno`` is the kernel's name for the reason, or empty. ``known`` has the fields of the reply that were known by
    then.
    """

    def __init__(self, where: str, reason: str, errno: str, known: Mapping[str, object]) -> None:
        super().__init__(f"{where}: {reason}")
        self.errno, self.known = errno, known


def probe_argv(command: str, **options: Value) -> tuple[str, ...]:
    """Return the command line of one probe command, for an operation that an undo keeps."""
    return (PROBE_PATH, *_line(command, options).split(" "))


def _line(command: str, options: Mapping[str, Value | None]) -> str:
    given = {key: value for key, value in options.items() if value is not None}
    words = [f"{key}={int(value) if isinstance(value, bool) else value}" for key, value in given.items()]
    return " ".join([command, *words])


def _understood(reply: type[T], where: str, answer: ProbeAnswer) -> T:
    """Read the fields of an answer as ``reply``, or raise ProbeFailed with the probe's own words."""
    if answer.refusal is not None:
        raise ProbeFailed(where, answer.refusal.error, answer.refusal.errno, answer.fields)
    return read_reply(reply, where, answer.fields)


class ProbeSession(SessionCommands):
    """A running probe that keeps what it holds until the session is closed."""

    def __init__(self, transport: Transport, process: Process) -> None:
        self._transport, self._process = transport, process

    def _call(self, reply: type[T], command: str, *, seconds: float = 60, **options: Value | None) -> T:
        began = time.monotonic()
        line = self._process.request(_line(command, options), deadline=Deadline.after(seconds))
        waited_s = time.monotonic() - began
        where = f"{self._transport.serial}: probe {command}"
        answer = parse_answer(where, line)
        self._transport.wire.add_on_phone(answer.took_ns / NS_PER_S, waited_s=waited_s)
        return _understood(reply, where, answer)


class Probe(Commands):
    """The probe of one phone; a command that is asked of it runs in a process of its own."""

    def __init__(self, transport: Transport, builder: Callable[[str], Path]) -> None:
        self._transport, self._builder = transport, builder
        self._installed = False
        self.sha256 = ""

    def install(self, arch: str) -> None:
        """Build for ``arch`` and push, unless the phone has the very same file already. May be repeated."""
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

    def _call(self, reply: type[T], command: str, *, seconds: float = 60, **options: Value | None) -> T:
        run = Exec((PROBE_PATH, *_line(command, options).split(" ")), accept=(0, 1))
        result = self._transport.execute([run], deadline=Deadline.after(seconds))[0].check()
        where = f"{self._transport.serial}: probe {command}"
        return _understood(reply, where, parse_answer(where, result.text))

    @contextmanager
    def session(self, *, alarm_s: int) -> Iterator[ProbeSession]:
        """Start a probe that ends with this scope, with the cable, or after ``alarm_s``."""
        argv = (PROBE_PATH, "serve", f"alarm={alarm_s}")
        process = self._transport.start(argv, deadline=Deadline.after(30))
        try:
            yield ProbeSession(self._transport, process)
        finally:
            process.close()
