"""One phone, leased, identified, and put back whatever happens."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from base.deadline import Deadline
from base.errors import EnvironmentRefused, LabError
from base.paths import state_dir
from devices.capability import Capability, detect
from devices.identity import Identity, identify
from devices.journal import Journal, Undo
from devices.lease import lease
from devices.probe.build import build as build_probe
from devices.probe.session import Probe
from devices.transport import CommandResult, Exec, Op, Read, Transport, Write

MARKER = "/data/local/tmp/.zram-writeback-lab.pending"
_COMMAND_S = 30.0


@dataclass(slots=True)
class Device:
    """A phone that we can command. Everything that is changed goes through ``changes()``."""

    transport: Transport
    identity: Identity
    capabilities: frozenset[Capability]
    journal: Journal
    boot_id: str
    probe: Probe
    run_id: str
    command_s: float = _COMMAND_S
    broken_by: str = field(default="")

    @property
    def serial(self) -> str:
        return self.transport.serial

    def execute(self, *ops: Op, keep_going: bool = False, seconds: float | None = None) -> list[CommandResult]:
        """Several operations in one round trip."""
        return self.transport.execute(ops, deadline=Deadline.after(seconds or self.command_s), keep_going=keep_going)

    def read(self, path: str) -> str:
        return self.execute(Read(path))[0].check().text

    def read_many(self, paths: Sequence[str]) -> dict[str, str | None]:
        """All files in one round trip; None for one that is not there or refuses to be read."""
        results = self.execute(*(Read(path) for path in paths), keep_going=True)
        return {path: result.text if result.ok else None for path, result in zip(paths, results, strict=True)}

    def write(self, path: str, value: str) -> None:
        self.execute(Write(path, value))[0].check()

    def run(self, *argv: str, seconds: float | None = None) -> str:
        return self.execute(Exec(argv), seconds=seconds)[0].check().text

    @contextmanager
    def changes(self) -> Iterator[Changes]:
        """Scope of changes: on leaving it each one is undone, newest first, and checked."""
        keep = len(self.journal.entries)
        try:
            yield Changes(self)
        finally:
            self.put_back(keep=keep)

    def put_back(self, *, keep: int = 0) -> list[str]:
        """Undo all changes but the ``keep`` oldest; on a failure the phone is marked unusable."""
        try:
            unmark = Exec(("rm", "-f", MARKER))
            return self.journal.rollback(self.transport, boot_id=self.boot_id, keep=keep, last=[unmark])
        except LabError as error:
            self.broken_by = str(error)
            raise


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of one scope. ``will_undo`` first, then the change itself."""

    device: Device

    def will_undo(self, undo: Undo) -> None:
        """Write the way back to disk, and a marker to the phone if it is the first."""
        first = not self.device.journal.entries
        self.device.journal.record(undo, boot_id=self.device.boot_id)
        if first:
            marker = f"{socket.gethostname()} {self.device.boot_id} {self.device.run_id}"
            self.device.execute(Write(MARKER, marker))[0].check()


def journal_path(key: str) -> Path:
    return state_dir() / "journals" / f"{re.sub(r'[^A-Za-z0-9._-]', '_', key)}.jsonl"


@contextmanager
def open_device(
    transport: Transport, *, run_id: str = "", command_s: float = _COMMAND_S,
    probe_builder: Callable[[str], Path] = build_probe, say: Callable[[str], None] = lambda text: None,
) -> Iterator[Device]:  # fmt: skip
    """Lease the phone, undo what an earlier run left behind, find out what it is; put it back at the end.

    Raises EnvironmentRefused when another run has the phone or another host left changes on it.
    """
    deadline = Deadline.after(command_s)
    boot, serialno, marker = transport.execute(
        [Read("/proc/sys/kernel/random/boot_id"), Exec(("getprop", "ro.serialno")), Read(MARKER)],
        deadline=deadline,
        keep_going=True,
    )
    boot_id = boot.check().text
    key = serialno.text.strip() or transport.serial
    with ExitStack() as stack:
        stack.enter_context(lease(key, run_id or f"pid {os.getpid()}"))
        journal = Journal.open(journal_path(key))
        if not journal.pending:
            _refuse_foreign_marker(transport, marker, boot_id)
        probe = Probe(transport, probe_builder)
        identity = identify(transport, deadline=Deadline.after(command_s))
        device = Device(
            transport, identity, frozenset(), journal, boot_id, probe, run_id or f"pid {os.getpid()}", command_s
        )
        if journal.pending:
            probe.install(identity.arch)
            for what in device.put_back():
                say(f"{transport.serial}: an earlier run was cut off; put back: {what}")
        device.capabilities = detect(transport, deadline=Deadline.after(command_s))
        yield device
        if journal.pending and not device.broken_by:
            device.put_back()


def _refuse_foreign_marker(transport: Transport, marker: CommandResult, boot_id: str) -> None:
    if not marker.ok:
        return
    host, marked_boot, run = (*marker.text.split(), "?", "?", "?")[:3]
    if marked_boot != boot_id:
        transport.execute([Exec(("rm", "-f", MARKER))], deadline=Deadline.after(10))
        return
    raise EnvironmentRefused(
        f"{transport.serial}: run {run} on host {host} left changes on this phone and its journal is not here",
        hint=f"run `./lab restore --device {transport.serial}` on {host}, or reboot the phone: that clears it",
    )
