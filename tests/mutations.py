"""What phones answer and what journals hold, mutated at random: never a traceback, a hang, or a phone that is changed.

The seed is fixed, so a finding is met again. ``ZRAM_LAB_MUTATIONS`` says how many of each kind; alone it is run with
``python -m tests.mutations``.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from base.deadline import Deadline
from base.errors import LabError
from devices.android.writers import find_writers
from devices.device import open_device
from devices.fake.phone import FakePhone
from devices.health import HEALTH_OPS, parse_health
from devices.journal import Expect, Journal, Undo
from devices.journal_files import all_journals
from devices.shell_script import parse_answer
from devices.transport import CommandResult, Exec, Op, Read, Write
from devices.zram import ZramConfig, take_over

DEFAULT_COUNT = 300
Phone = TypeVar("Phone", bound=FakePhone)
_SEED = 20
_LONGEST_S = 10.0
_TOKEN = "LAB0123456789abcdef"
_WORDS = [
    b"", b"\0", b"\n", b"\xff\xfe", b"\x1b[2J", b"9" * 5000, "²".encode(), "٣".encode(), b"-1", b"1.5", b"1e999",
    b"nan", b"null", b"[", b"{", b'"', b"]" * 40, b" ", b"\t", b"\r", b"\xe2\x80\xae", b"0x10", b"A" * 70_000,
    _TOKEN.encode(), b"18446744073709551616", b"reboot", b"../..", b"(deleted)", b"none", b"zram0", b"[v", b"1 2 3",
]  # fmt: skip


def mutated(data: bytes, chance: random.Random) -> bytes:
    """``data`` with one to six things done to it that no writer of it does."""
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 7)):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(6):
            case 0:
                del changed[at : at + chance.randrange(1, 40)]
            case 1:
                changed[at:at] = chance.choice(_WORDS)
            case 2 if at < len(changed):
                changed[at] = chance.randrange(256)
            case 3:
                changed[at:at] = changed[at : at + chance.randrange(1, 60)]
            case 4:
                del changed[at:]
            case _:
                words = bytes(changed).split(b" ")
                words[chance.randrange(len(words))] = chance.choice(_WORDS)
                changed[:] = b" ".join(words)
    return bytes(changed)


@dataclass
class Findings:
    """What must not be, by kind, each with its first example."""

    tried: int = 0
    clear_errors: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    slowest_s: float = 0.0

    def note(self, kind: str, example: str) -> None:
        self.bad[kind] += 1
        self.examples.setdefault(kind, example[:2000])

    def attempt(self, action: Callable[[], object], example: str) -> None:
        """Only a LabError that says something is an answer to nonsense."""
        self.tried += 1
        began = time.monotonic()
        try:
            action()
        except LabError as error:
            self.clear_errors += 1
            if not str(error) or "\x1b" in error.for_people():
                self.note("an error that says nothing, or commands the terminal", example)
        except Exception as error:  # noqa: BLE001 - that there is none is what is tried
            frame = traceback.extract_tb(error.__traceback__)[-1]
            self.note(f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}", f"{error}: {example}")
        took = time.monotonic() - began
        self.slowest_s = max(self.slowest_s, took)
        if took > _LONGEST_S:
            self.note("longer than any deadline", example)


class MutatingPhone(FakePhone):
    """A phone one of whose answers is mutated."""

    chance: random.Random
    victim: int
    met = ""

    def execute(self, ops: Sequence[Op], *, deadline: Deadline, keep_going: bool = False) -> list[CommandResult]:
        results = super().execute(ops, deadline=deadline, keep_going=keep_going)
        return [self._maybe(result) for result in results]

    def _maybe(self, result: CommandResult) -> CommandResult:
        self.victim -= 1
        if self.victim != 0 or result.skipped:
            return result
        text = mutated(result.stdout.encode(), self.chance).decode(errors="replace")
        self.met = f"{result.op} -> {text[:300]!r}"
        return replace(result, status=self.chance.choice((result.status, 0, 1, 255)), stdout=text, missing=False)


def used_phone(phone: Phone) -> Phone:
    phone.files["/sys/block/zram0/disksize"] = "2147483648"
    phone.swaps = {"/dev/block/zram0": (1024, 100)}
    return phone


def a_run(phone: MutatingPhone) -> None:
    """What a run does before and around its measuring, but for the measuring."""
    with open_device(phone, run_id="mutant", probe_builder=lambda arch: Path(__file__)) as device:
        find_writers(phone, deadline=Deadline.after(9))
        parse_health(
            *(result.stdout for result in phone.execute(HEALTH_OPS, deadline=Deadline.after(9), keep_going=True))
        )
        device.probe.install(device.identity.arch)
        with device.changes() as changes:
            take_over(changes).configure(ZramConfig(1 << 28, comp_algorithm="zstd"))


def phone_answers(count: int, chance: random.Random, findings: Findings) -> None:
    """A run on a phone that lies once; afterwards the phone is put back, by that run or by the next."""
    answers = 1
    counting = MutatingPhone()
    counting.victim, counting.chance = sys.maxsize, chance
    a_run(used_phone(counting))
    answers = sys.maxsize - counting.victim
    before = used_phone(FakePhone()).state()
    for _ in range(count):
        phone = MutatingPhone()
        phone.victim, phone.chance = chance.randrange(1, answers + 1), chance
        used_phone(phone)
        findings.attempt(lambda phone=phone: a_run(phone), phone.met)  # type: ignore[misc]
        phone.victim = sys.maxsize
        findings.attempt(lambda phone=phone: heal(phone), phone.met)  # type: ignore[misc]
        if phone.state() != before and not all_journals():
            findings.note(
                "a phone that is changed, without a journal", f"{phone.met}: {differing(phone.state(), before)}"
            )
        forget_all()


def differing(state: tuple[object, ...], before: tuple[object, ...]) -> str:
    return "; ".join(f"{now!r} was {then!r}" for now, then in zip(state, before, strict=True) if now != then)[:900]


def heal(phone: FakePhone) -> None:
    with open_device(phone, probe_builder=lambda arch: Path(__file__)):
        pass


def forget_all() -> None:
    for path in all_journals():
        path.unlink()


def raw_answers(count: int, chance: random.Random, findings: Findings) -> None:
    """Both streams of a script, as adbd sends them."""
    ops: list[Op] = [Read("/proc/swaps"), Exec(("id", "-u")), Write("/x", "1")]
    out = "".join(f"text {n}\n\n{_TOKEN} {n} 0\n" for n in range(len(ops))).encode()
    err = ("".join(f"\n{_TOKEN} {n}\n" for n in range(len(ops))) + f"{_TOKEN} end 1.5 2.5 10.25 11.25\n").encode()
    for _ in range(count):
        streams = [mutated(out, chance), mutated(err, chance)]
        text = [stream.decode(errors="replace") for stream in streams]
        findings.attempt(lambda text=text: parse_answer(ops, _TOKEN, *text), repr(streams))  # type: ignore[misc]


def journals(count: int, chance: random.Random, findings: Findings) -> None:
    """The journal of a phone that needs nothing: whatever it holds, only what this project wrote is carried out."""
    path = _whole_journal()
    whole = path.read_bytes()
    written = {"/data/a", "/data/b"}
    for _ in range(count):
        data = mutated(whole, chance)
        path.write_bytes(data)
        phone = FakePhone()
        before = phone.state()[0]
        findings.attempt(lambda phone=phone: heal(phone), repr(data))  # type: ignore[misc]
        changed = {name for name, text in phone.files.items() if before.get(name) != text} | (
            before.keys() - phone.files
        )
        if foreign := [name for name in changed - written if name.startswith(("/sys/block/zram", "/proc/sys/"))]:
            findings.note("a phone that a damaged journal changed", f"{foreign}: {data!r}")
        forget_all()
        with suppress(OSError):
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))


def _whole_journal() -> Path:
    forget_all()
    with open_device(FakePhone(), probe_builder=lambda arch: Path(__file__)) as device:
        for name in ("/data/a", "/data/b"):
            undo = Undo(name, (Write(name, "1"), Exec(("rm", "-f", "/data/c"))), (Expect(name, "1"),))
            device.journal.record(undo, boot_id=device.boot_id)
        path = device.journal.path
        kept = path.read_bytes()
        device.put_back()
    path.write_bytes(kept)
    path.chmod(0o600)
    assert len(Journal.open(path).entries) == 2
    return path


KINDS: dict[str, Callable[[int, random.Random, Findings], None]] = {
    "phone answers": phone_answers, "raw answers": raw_answers, "journals": journals,
}  # fmt: skip


def hunt(kind: str, count: int) -> Findings:
    """Try ``count`` mutations; ``ZRAM_LAB_STATE`` names a folder of one's own, whose journals are lost."""
    findings = Findings()
    KINDS[kind](count, random.Random(_SEED), findings)
    return findings


def wanted() -> int:
    return int(os.environ.get("ZRAM_LAB_MUTATIONS", DEFAULT_COUNT))


def _main() -> Iterator[str]:
    for kind in KINDS:
        found = hunt(kind, wanted())
        facts = {"tried": found.tried, "clear errors": found.clear_errors, "slowest_s": round(found.slowest_s, 2)}
        yield f"{kind}: {json.dumps(facts)}, bad: {dict(found.bad)}"
        yield from (f"  {name}: {example}" for name, example in found.examples.items())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ZRAM_LAB_STATE"] = folder
        for line in _main():
            print(line, flush=True)
