"""One phone, leased, identified, and put back whatever happens."""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from base.deadline import Deadline
from base.errors import CommandFailed, EnvironmentRefused, LabError, RestoreFailed, UnreadableAnswer
from base.units import shown
from devices.capability import Capability, detect
from devices.identity import Identity, identify
from devices.journal import Journal, PhoneFacts, Undo
from devices.journal_files import PhoneNow, journal_folder, journal_path, journals_of
from devices.lease import Holder, held_by, lease, lease_key, user_name
from devices.planned import PlannedTransport
from devices.probe.build import build as build_probe
from devices.probe.session import PROBE_FOLDER, Probe
from devices.transport import CommandResult, Exec, Op, Read, Transport, Write

MARKER = "/data/local/tmp/.zram-writeback-lab.pending"
# A random number that stays on the phone, because serial numbers repeat.
PHONE_ID = f"{PROBE_FOLDER}/id"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
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

    def put_back(self, *, keep: int = 0, journal: Journal | None = None) -> list[str]:
        """Undo all changes but the ``keep`` oldest; on a failure the phone is marked unusable.

        A phone that was rebooted meanwhile is asked for anew, since another run may have it now.
        """
        journal = journal or self.journal
        unmark = Exec(("rm", "-f", MARKER))
        try:
            if len(journal.entries) <= keep and not journal.damage:
                return []
            boot_id = self._boot_now()
            with self._leased_again(boot_id):
                return journal.rollback(self.transport, boot_id=boot_id, keep=keep, last=[unmark])
        except LabError as error:
            self.broken_by = str(error)
            raise

    def _boot_now(self) -> str:
        try:
            return _boot_id(*self.execute(Read(_BOOT_ID), Read(_BOOT_ID)))
        except (CommandFailed, UnreadableAnswer) as error:
            raise RestoreFailed(
                f"{self.serial}: whether it was rebooted cannot be told: {error}", hint="`./lab restore` tries again"
            ) from error

    @contextmanager
    def _leased_again(self, boot_id: str) -> Iterator[None]:
        if boot_id == self.boot_id:
            yield
            return
        serialno = self.journal.phone.serialno if self.journal.phone else self.serial
        try:
            stack = ExitStack()
            key = lease_key(boot_id, serialno, lives_in=self.transport.lives_in)
            stack.enter_context(lease(key, self.run_id, phone=self.serial))
        except EnvironmentRefused as error:
            raise RestoreFailed(f"{self.serial} was rebooted, and now {error}", hint=error.hint) from error
        with stack:
            yield


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of one scope. ``will_undo`` first, then the change itself."""

    device: Device

    def will_undo(self, undo: Undo) -> None:
        """Write the way back to disk, and a marker to the phone if it is the first."""
        device = self.device
        first = not device.journal.entries
        if first:
            self._keep_id()
        device.journal.record(undo, boot_id=device.boot_id)
        if first:
            marker = " ".join((socket.gethostname(), device.boot_id, device.run_id, user_name(os.geteuid())))
            device.execute(Write(MARKER, marker))[0].check()

    def _keep_id(self) -> None:
        """The phone gets its number before an entry names it: an entry must find its phone after a cut."""
        phone = self.device.journal.phone
        if phone and not phone.id:
            number = secrets.token_hex(16)
            for result in self.device.execute(Exec(("mkdir", "-p", PROBE_FOLDER)), Write(PHONE_ID, number)):
                result.check()
            self.device.journal.phone = replace(phone, id=number)


def holder_of(transport: Transport, *, deadline: Deadline) -> Holder | None:
    """Who of this host's users has the phone now; nothing is changed and nothing is taken."""
    phone, _ = _first_look(transport, deadline)
    return held_by(_key(transport, phone))


@contextmanager
def open_device(
    transport: Transport, *, run_id: str = "", command_s: float = _COMMAND_S,
    probe_builder: Callable[[str], Path] = build_probe, say: Callable[[str], None] = lambda text: None,
    zram_number: Callable[[Identity], int] = lambda identity: 0,
) -> Iterator[Device]:  # fmt: skip
    """Lease the phone, undo what an earlier run left behind, find out what it is; put it back at the end.

    ``zram_number`` says for a phone which of its zram devices shows what its zram can do.
    Raises EnvironmentRefused when another run has the phone or another host left changes on it.
    """
    run_id = re.sub(r"\s+", "-", run_id) or f"pid-{os.getpid()}"
    phone, marker = _first_look(transport, Deadline.after(command_s))
    with lease(_key(transport, phone), run_id, phone=transport.serial):
        pending, unclear = journals_of(phone)
        for path in unclear:
            say(f"{transport.serial}: {path} is an older version's, names no phone and fits none of this boot: kept")
        if not pending:
            _refuse_foreign_marker(transport, marker, phone.boot_id)
        probe = Probe(transport, probe_builder)
        identity = identify(transport, deadline=Deadline.after(command_s))
        journal = _new_journal(transport, phone, pending)
        device = Device(transport, identity, frozenset(), journal, phone.boot_id, probe, run_id, command_s)
        if pending:
            probe.install(identity.arch)
        for left in pending:
            for what in device.put_back(journal=left):
                say(f"{transport.serial}: an earlier run was cut off; put back: {what}")
        number = zram_number(identity)
        device.capabilities = detect(transport, deadline=Deadline.after(command_s), zram_number=number)
        yield device
        if journal.pending and not device.broken_by:
            device.put_back()


def _new_journal(transport: Transport, phone: PhoneNow, pending: Sequence[Journal]) -> Journal:
    path = journal_path(phone.facts.serialno)
    if not isinstance(transport, PlannedTransport):
        return Journal(path, phone.facts)
    if pending:
        left = ", ".join(entry.undo.what for journal in pending for entry in reversed(journal.entries))
        raise EnvironmentRefused(
            f"{transport.serial}: an earlier run was cut off; a run would first put back: {left or 'what is unknown'}",
            hint=f"what comes after that shows when it is done: `./lab restore --device {transport.serial}`",
        )
    return transport.journal(path, phone.facts)


def _key(transport: Transport, phone: PhoneNow) -> str:
    return lease_key(phone.boot_id, phone.facts.serialno, lives_in=transport.lives_in)


def _first_look(transport: Transport, deadline: Deadline) -> tuple[PhoneNow, CommandResult]:
    """Which phone it is, and its marker, in one trip."""
    reads: list[Op] = [Read(_BOOT_ID), Exec(("getprop", "ro.serialno")), Read(MARKER), Read(PHONE_ID), Read(_BOOT_ID)]
    boot, serialno, marker, number, again = transport.execute(reads, deadline=deadline, keep_going=True)
    known = re.fullmatch(r"[0-9a-f]{32}", number.text.strip()) if number.ok else None
    facts = PhoneFacts(known[0] if known else "", transport.serial, serialno.text.strip() or transport.serial)
    return PhoneNow(facts, _boot_id(boot, again), _marked(marker)[1] if marker.ok else ""), marker


def _boot_id(first: CommandResult, second: CommandResult) -> str:
    """Changes are void in another boot, so it is not taken from one answer."""
    boot_id = first.check().text.strip()
    if not re.fullmatch(r"[0-9A-Za-z-]{1,64}", boot_id) or second.check().text.strip() != boot_id:
        raise UnreadableAnswer(f"{_BOOT_ID}: {shown(first.text)}, then {shown(second.text)}: no boot id")
    return boot_id


def _marked(marker: CommandResult) -> tuple[str, str, str, str]:
    """Host, boot id, run and user of the run whose changes are pending; version 0.1.0 did not name the user."""
    host, boot_id, run, user = (*marker.text.split()[:4], "?", "?", "?", "?")[:4]
    return host, boot_id, run, user


def _refuse_foreign_marker(transport: Transport, marker: CommandResult, boot_id: str) -> None:
    if not marker.ok:
        return
    host, marked_boot, run, user = _marked(marker)
    if marked_boot != boot_id:
        transport.execute([Exec(("rm", "-f", MARKER))], deadline=Deadline.after(10))
        return
    whose = f" of user {user}" if user != "?" else ""
    raise EnvironmentRefused(
        f"{transport.serial}: run {run}{whose} on host {host} left changes on this phone and its journal is not here, "
        f"in {journal_folder()}",
        hint=f"run `./lab restore --device {transport.serial}` on {host}{f' as {user}' if whose else ''}, "
        "or reboot the phone: that clears it",
    )
