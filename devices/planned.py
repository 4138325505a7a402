"""A phone that is only looked at: what would change it is written down, and answered as the phone would answer.

So the very code of a run tells what a run would do. What only looks goes to the phone; everything else does not, also
what nobody has thought of: programs that look are listed here, not those that change something.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from base.deadline import Deadline
from base.errors import CommandFailed, EnvironmentRefused
from devices.journal import Entry, Journal, PhoneFacts, Undo
from devices.probe.session import PROBE_PATH
from devices.transport import CommandResult, Exec, Op, Process, Read, Transport, Write

_LOOKS = frozenset((
    "cat", "getconf", "getenforce", "getprop", "grep", "head", "id", "ls", "pidof", "ps", "readlink", "sha256sum",
    "stat", "tail", "test", "uname", "zcat",
))  # fmt: skip
# Programs that can do both: these first words only look.
_LOOKS_SO = (
    ("blockdev", "--getsize64"), ("blockdev", "--getss"), ("cmd", "jobscheduler", "get-job-state"), ("settings", "get")
)  # fmt: skip
_HOT_ADD, _HOT_REMOVE = "/sys/class/zram-control/hot_add", "/sys/class/zram-control/hot_remove"
_NOT_ASKED = '{"ok": false, "errno": "", "error": "not asked in a dry run", "took_ns": 0}'
_ZRAM_PATH = re.compile(r"/sys/block/zram([0-9]{1,4})(?=/|$)")


@dataclass(frozen=True, slots=True)
class Push:
    """A file that would be put on the phone."""

    remote: str
    size_bytes: int

    def __str__(self) -> str:
        return f"push {self.remote} ({self.size_bytes >> 10} KiB)"


Change = Op | Push


def only_looks(argv: Sequence[str]) -> bool:
    """Say whether a program is known to change nothing. A script is if it is nothing but such programs in pipes."""
    match tuple(argv):
        case ("sh", "-c", script):
            plain = not re.search(r"[<>`$&;\n]", script)
            return plain and all(only_looks(words) for part in script.split("|") if (words := part.split() or ["-"]))
        case ("dumpsys", _) | ("dmesg",):
            return True
        case words:
            return words[0] in _LOOKS or any(words[: len(known)] == known for known in _LOOKS_SO)


class PlannedTransport:
    """Looks at ``phone`` and plans changes of it.

    ``plan`` has what would be done, in order: the way back of each change, as the journal would have it, and the
    changes. An attribute that was written reads as written, a program that was stopped is stopped. What cannot be
    foreseen (that the phone refuses a change) is taken to go well.
    """

    def __init__(self, phone: Transport) -> None:
        self._phone = phone
        self.serial, self.wire, self.lives_in = phone.serial, phone.wire, phone.lives_in
        self.clock_missing = phone.clock_missing
        self.plan: list[Undo | Change] = []
        self._undoing = False
        # What files and programs say after what was planned; None for a file that would be gone.
        self._files: dict[str, str | None] = {}
        self._says: dict[tuple[str, ...], str] = {}
        # A zram that would be added, and one that is there and has the same attributes.
        self._added: dict[str, str] = {}

    @property
    def root(self) -> str:
        return self._phone.root

    @property
    def undos(self) -> list[Undo]:
        """The ways back, oldest first."""
        return [step for step in self.plan if isinstance(step, Undo)]

    def journal(self, path: Path, facts: PhoneFacts) -> Journal:
        """Return a journal in memory for what is planned."""
        return _PlannedJournal(path, facts, self)

    def execute(self, ops: Sequence[Op], *, deadline: Deadline, keep_going: bool = False) -> list[CommandResult]:
        results: list[CommandResult] = []
        looks: list[Op] = []

        def look() -> None:
            if looks and not stopped():
                results.extend(self._look(looks, deadline, keep_going))
            else:
                results.extend(CommandResult(op, 0, "", "", skipped=True) for op in looks)
            looks.clear()

        def stopped() -> bool:
            return not keep_going and any(not result.ok for result in results)

        for op in ops:
            if self._is_for_the_phone(op):
                looks.append(op)
                continue
            look()
            done = CommandResult(op, 0, "", "", skipped=True) if stopped() else self._answer(op, deadline)
            results.append(done)
        look()
        return results

    def start(self, argv: Sequence[str], *, deadline: Deadline) -> Process:
        """Raises CommandFailed: a program that keeps running is part of no plan."""
        raise CommandFailed(" ".join(argv), 1, "nothing is started on a phone that is only looked at")

    def push(self, local: Path, remote: str, *, mode: int = 0o644, deadline: Deadline) -> None:
        self._plan(Push(remote, local.stat().st_size))

    def pull(self, remote: str, local: Path, *, deadline: Deadline, remove: bool = False) -> None:
        self._phone.pull(remote, local, deadline=deadline)

    def close(self) -> None:
        self._phone.close()

    def undo(self, undo: Undo) -> None:
        """Forget a change: what it would have changed is as it is on the phone, or as it would be put back."""
        self._undoing = True
        try:
            self.execute(undo.steps, deadline=Deadline.after(60), keep_going=True)
        finally:
            self._undoing = False

    def _plan(self, change: Change) -> None:
        if not self._undoing:
            self.plan.append(change)

    def _is_for_the_phone(self, op: Op) -> bool:
        match op:
            case Read(path):
                return path != _HOT_ADD and path not in self._files
            case Exec(("cat", *paths)):
                return not any(path in self._files for path in paths)
            case Exec(argv):
                return argv not in self._says and only_looks(argv)
        return False

    def _look(self, ops: Sequence[Op], deadline: Deadline, keep_going: bool) -> list[CommandResult]:
        found = self._phone.execute([self._in_its_place(op) for op in ops], deadline=deadline, keep_going=keep_going)
        self.clock_missing = self._phone.clock_missing
        return [replace(result, op=op) for op, result in zip(ops, found, strict=True)]

    def _in_its_place(self, op: Op) -> Op:
        """The same look at a zram that is there, where the one that is asked for would only be added."""
        match op:
            case Read(path):
                return Read(self._there(path))
            case Exec(argv):
                return replace(op, argv=tuple(map(self._there, argv)))
        return op

    def _there(self, text: str) -> str:
        return _ZRAM_PATH.sub(lambda found: f"/sys/block/zram{self._added.get(found[1], found[1])}", text)

    def _answer(self, op: Op, deadline: Deadline) -> CommandResult:
        """Plan an operation that changes something, or tell what one that was planned has changed."""
        match op:
            case Read(path) if path != _HOT_ADD:
                text = self._files[path]
                return CommandResult(op, 250 if text is None else 0, text or "", "", missing=text is None)
            case Exec(("cat", *paths)):
                return self._several(op, paths, deadline)
            case Exec(argv) if argv in self._says:
                return CommandResult(op, 0, self._says[argv] + "\n", "")
        if isinstance(op, Exec) and op.argv[:2] == (PROBE_PATH, "dm-below"):
            # The probe, which could tell, is not put on a phone that is only looked at.
            return CommandResult(op, 1, _NOT_ASKED, "")
        text = ""
        match op:
            case Read():
                text = self._hot_add(deadline)
            case Write(path, value):
                self._written(path, value)
            case Exec((program, *options)) if program == PROBE_PATH:
                text = _probe_says(options)
            case Exec(argv):
                self._done(argv)
        self._plan(op)
        return CommandResult(op, 0, text, "")

    def _several(self, op: Op, paths: Sequence[str], deadline: Deadline) -> CommandResult:
        found = self.execute([Read(path) for path in paths], deadline=deadline)
        bad = next((result for result in found if not result.ok), None)
        text = "".join(f"{result.text}\n" for result in found)
        return CommandResult(op, 0, text, "") if bad is None else replace(bad, op=op, status=1, missing=False)

    def _hot_add(self, deadline: Deadline) -> str:
        listing = self._phone.execute([Exec(("ls", "/sys/block"))], deadline=deadline)[0].check().text
        there = re.findall(r"\bzram([0-9]{1,4})\b", listing)
        if not there:
            raise EnvironmentRefused(
                f"{self.serial}: there is no zram device, so what a run can do shows only when one is added",
                hint="a dry run adds none: `cat /sys/class/zram-control/hot_add` on the phone does until it reboots",
            )
        number = next(str(n) for n in range(1 << 14) if str(n) not in {*there, *self._added})
        self._added[number] = there[0]
        return number

    def _written(self, path: str, value: str) -> None:
        if path == _HOT_REMOVE:
            self._added.pop(value, None)
            self._forget(f"/sys/block/zram{value}/")
        elif path.endswith("/reset"):
            self._forget(path.removesuffix("reset"))
        else:
            self._files[path] = value

    def _forget(self, folder: str) -> None:
        self._files = {path: text for path, text in self._files.items() if not path.startswith(folder)}

    def _done(self, argv: tuple[str, ...]) -> None:
        match argv:
            case ("stop", service):
                self._says["getprop", f"init.svc.{service}"] = "stopped"
            case ("start", service):
                self._says.pop(("getprop", f"init.svc.{service}"), None)
            case ("setprop", name, value):
                self._says["getprop", name] = value
            case ("setenforce", value):
                self._says["getenforce",] = "Enforcing" if value == "1" else "Permissive"
            case ("rm", *_, path):
                self._files[path] = None


def _probe_says(words: Sequence[str]) -> str:
    """What the probe answers when all goes well; which device is free is not foreseen: it is called loopN or dm-N."""
    command, options = words[0], dict(word.partition("=")[::2] for word in words[1:])
    known: Mapping[str, object] = {}
    if command == "loop-attach":
        known = {
            "loop": "/dev/block/loopN", "number": 0, "dio": int(options["direct"]), "dio_errno": "",
            "block_size": int(options["block"]), "configured_by": "", "file_bytes": int(options["size"]),
            "allocated_bytes": int(options["size"]) * int(options["allocate"]), "fs_magic": "", "created": 1,
            "pinned": int(options["pin"]), "pin_errno": "",
        }  # fmt: skip
    elif command == "mapped-attach":
        known = {
            "node": "/dev/block/dm-N", "below": "", "through": "", "extents": 0, "verified": 0,
            "file_bytes": int(options["size"]), "allocated_bytes": int(options["size"]), "fs_magic": "", "created": 1,
            "pinned": 0, "pin_errno": "",
        }  # fmt: skip
    return json.dumps({"ok": True, "took_ns": 0, **known})


class _PlannedJournal(Journal):
    """Is kept in memory alone; what it undoes is forgotten by the plan's transport."""

    def __init__(self, path: Path, facts: PhoneFacts, planned: PlannedTransport) -> None:
        super().__init__(path, facts)
        self._planned = planned

    def record(self, undo: Undo, *, boot_id: str) -> Entry:
        self._planned.plan.append(undo)
        return super().record(undo, boot_id=boot_id)

    def done(self, entry: Entry) -> None:
        self.entries.remove(entry)

    def _append(self, record: Mapping[str, object]) -> None:
        """Nothing goes to the disk."""

    def rollback(
        self, transport: Transport, *, boot_id: str, keep: int = 0, last: Sequence[Op] = (), step_s: float = 120
    ) -> list[str]:
        undone = list(reversed(self.entries[keep:]))
        for entry in undone:
            self._planned.undo(entry.undo)
            self.done(entry)
        return [entry.undo.what for entry in undone]
