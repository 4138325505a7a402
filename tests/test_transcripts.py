"""What phones printed, each with its source, against what a careful reader makes of it: tests/data/transcripts.

A file has a header (``#| kind: ...``) and sections (``@@ program or file``); beside it lies what is expected.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from base.deadline import Deadline
from devices.android.apps import App, AppProblem, app_launcher, find_apps
from devices.android.events import parse_events
from devices.android.screen import parse_keyguard
from devices.android.writers import find_writers
from devices.fake.phone import FakePhone
from devices.kernel_log import kernel_news, selinux_denial
from devices.probe.build import build
from devices.swaps import FIRST_SWAP, parse_swaps, swap_priority
from devices.transport import CommandResult, Op
from devices.zram import Zram
from tests.android_fakes import opened
from tests.probe_process import served
from tests.test_probe_sampler import MAY_UNSHARE, on_kernel

FOLDER = Path(__file__).parent / "data/transcripts"
NAMES = sorted(path.stem for path in FOLDER.glob("*.txt"))


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "state"))


@dataclass(frozen=True)
class Transcript:
    header: Mapping[str, str]
    sections: Mapping[str, str]

    @classmethod
    def read(cls, name: str) -> Transcript:
        header: dict[str, str] = {}
        sections: dict[str, str] = {}
        section = ""
        for line in (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines():
            if line.startswith("#| "):
                key, _, header[key] = line[3:].partition(": ")
            elif line.startswith("@@ "):
                section = line[3:]
                sections[section] = ""
            elif section:
                sections[section] += f"{line}\n"
        return cls(header, sections)

    @property
    def args(self) -> dict[str, Any]:
        args: dict[str, Any] = json.loads(self.header.get("args", "{}"))
        return args


class Playback(FakePhone):
    """Answers with a section where the operation has these words in it, each in its turn; else as FakePhone does."""

    answers: list[tuple[str, str]]

    def execute(self, ops: Sequence[Op], *, deadline: Deadline, keep_going: bool = False) -> list[CommandResult]:
        return [self._played(op) or super(Playback, self).execute([op], deadline=deadline)[0] for op in ops]

    def _played(self, op: Op) -> CommandResult | None:
        answer = next((answer for answer in self.answers if answer[0] in str(op)), None)
        if answer is None:
            return None
        if sum(words == answer[0] for words, _ in self.answers) > 1:
            self.answers.remove(answer)
        return CommandResult(op, 0, answer[1], "")


def playback(*answers: tuple[str, str]) -> Playback:
    phone = Playback()
    phone.answers = list(answers)
    return phone


def keyguard(transcript: Transcript, folder: Path) -> dict[str, Any]:
    return {"keyguard": parse_keyguard(transcript.sections["window"])}


def events(transcript: Transcript, folder: Path) -> dict[str, Any]:
    kills = parse_events(transcript.sections["events"])
    return {
        "kills": [
            {
                "pid": kill.pid,
                "by": kill.by,
                "uid": kill.uid,
                "adj": kill.adj,
                "rss_kib": kill.rss_kib,
                "reason": kill.reason,
            }
            for kill in kills
        ]
    }


def avc(transcript: Transcript, folder: Path) -> dict[str, Any]:
    denied = selinux_denial(transcript.sections["dmesg"], "/data/per_boot/zram_writeback")
    return {"hint": f"SELinux denied it: {denied}" if denied else ""}


def splat(transcript: Transcript, folder: Path) -> dict[str, Any]:
    return {"splat": bool(kernel_news(transcript.sections["dmesg"]).faults)}


def swapoff(transcript: Transcript, folder: Path) -> dict[str, Any]:
    table, node = transcript.sections["/proc/swaps"], f"/dev/block/zram{transcript.args['zram']}"
    phone = FakePhone()
    phone.swaps = {swap.name: (1024, swap.priority) for swap in parse_swaps(table)}
    with opened(phone, folder) as device:
        zram = Zram(device, transcript.args["zram"])
        listed = zram.check_swapoff() is not None
        zram.reset()
    off = [line.removeprefix("swapoff ") for line in phone.log if line.startswith("swapoff ")]
    return {"listed": listed, "swapoff": off, "reset": not phone.swaps, "priority": swap_priority(table, node)}


def hot_add_priority(transcript: Transcript, folder: Path) -> dict[str, Any]:
    return {"first": all(swap.priority < FIRST_SWAP for swap in parse_swaps(transcript.sections["/proc/swaps"]))}


def writers(transcript: Transcript, folder: Path) -> dict[str, Any]:
    told = transcript.sections
    phone = playback(("getprop", told["getprop"]), ("ps -A", told["ps"]), ("jobscheduler", told["job"]))
    found = find_writers(phone, deadline=Deadline.after(5))
    return {"services": list(found.services), "daemons": list(found.daemons), "jobs": list(found.jobs)}


def resolve(transcript: Transcript, folder: Path) -> dict[str, Any]:
    told = transcript.sections
    answers = [("pm path", told["path"]), ("resolve-activity", told["resolve"])]
    phone = playback(*answers, ("query-activities", told.get("query", "")))
    with opened(phone, folder) as device:
        apps, problems = find_apps(device, [transcript.args["package"]])
    return {"components": [app.component for app in apps], "problem": "; ".join(map(str, problems))}


def start(transcript: Transcript, folder: Path) -> dict[str, Any]:
    told, package = transcript.sections, transcript.args["package"]
    phone = playback(
        ("ps -A", told["ps before"]), ("am start", told["am"]), ("ps -A", told["ps after"]),
        ("dumpsys activity", told["activities"]), ("dumpsys window", told["window"]),
    )  # fmt: skip
    with opened(phone, folder) as device, app_launcher(device) as launcher:
        try:
            launch = launcher.start(App(package, f"{package}/{transcript.args['activity']}"))
        except AppProblem as problem:
            return {"problem": type(problem).__name__}
    return {"state": launch.state, "total_ms": launch.total_ms, "pid": launch.pid}


def vmstat(transcript: Transcript, folder: Path) -> dict[str, Any]:
    if not MAY_UNSHARE:
        pytest.skip("needs a mount namespace of its own: unshare -rm")
    with served(on_kernel(folder, [str(build("x86_64"))], transcript.sections["before"])) as probe:
        probe.good("sample-start zram=0 interval_ms=10 duration_s=5")
        (folder / "vmstat").write_text(transcript.sections["after"])
        reply = probe.good(f"sample-stop out={folder / 'samples'}")
    return {"refaults": reply.get("refault"), **{name: reply[name] for name in ("pswpin", "pswpout", "pgmajfault")}}


READERS: dict[str, Callable[[Transcript, Path], dict[str, Any]]] = {
    "keyguard": keyguard, "events": events, "avc": avc, "splat": splat, "swapoff": swapoff, "writers": writers,
    "hot_add_priority": hot_add_priority, "resolve": resolve, "start": start, "vmstat": vmstat,
}  # fmt: skip


def differences(expected: Mapping[str, Any], seen: Mapping[str, Any]) -> list[str]:
    """Where the product's answer is not the reader's. ``x_has``, ``x_lacks``, ``x_not``: words in x, and not in it."""
    found = []
    for key, value in expected.items():
        name, _, rule = key.rpartition("_")
        if rule in ("has", "lacks", "not") and name in seen:
            words = value if isinstance(value, list) else [value]
            found += [f"{key}: {seen[name]!r}" for word in words if (word in str(seen[name])) != (rule == "has")]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            pairs = zip(value, seen[key], strict=True)
            found += [text for want, got in pairs for text in differences(want, got)]
        elif seen.get(key) != value:
            found.append(f"{key}: expected {value!r}, seen {seen.get(key)!r}")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_product_reads_what_a_careful_reader_reads(name: str, tmp_path: Path) -> None:
    transcript = Transcript.read(name)
    expected = json.loads((FOLDER / f"{name}.expect.json").read_text(encoding="utf-8"))
    assert differences(expected, READERS[transcript.header["kind"]](transcript, tmp_path)) == []


def test_every_transcript_names_its_source_and_its_device() -> None:
    assert NAMES
    for name in NAMES:
        assert {"kind", "source", "device", "provenance"} <= set(Transcript.read(name).header), name
