"""The app-switch suite on a phone of 1 GiB: pressure until an app is killed, and real packages, good ones and bad."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.virtual.phone import RunningPhone
from records.model import Caveat, RunResult
from records.reading import load
from tests.conftest import lab

pytestmark = pytest.mark.phone

PROFILE = """\
name: switching
connection: {{adb: {{serial: "{serial}"}}}}
zram: {{disksize: {disksize}}}
backing: {{path: /data/per_boot/switching, size: 128MiB}}
sweep: {{data: [4MiB]}}
inflight: {{data: 4MiB}}
faults: {{samples: 1000}}
variants: {{data: 4MiB}}
compressors: {{data: 4MiB}}
apps: {{{apps}}}
"""
BAD = ("com.zramlab.broken", "com.zramlab.keyboard", "com.example.nosuch")


def switched(phone: RunningPhone, folder: Path, apps: str, disksize: str = "128MiB") -> list[RunResult]:
    profile = folder / "switching.yaml"
    profile.write_text(PROFILE.format(serial=phone.serial, apps=apps, disksize=disksize))
    done = lab(
        "run", "--device", str(profile), "--plan", "standard", "--seed", "3", "--results", str(folder / "results"),
        "-k", "app_switch", timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (folder / "results").iterdir()
    return list(load(run).runs)


def test_pressure_is_raised_until_an_app_is_killed(phone: RunningPhone, tmp_path: Path) -> None:
    apps = "count: 15, anonymous: 60MiB, working_set: 4MiB, file_backed: 1MiB, goal: first_kill, rounds: 1, dwell: 0s"
    (result,) = switched(phone, tmp_path, f"{apps}, writeback: [off]")
    assert result.facts["goal_reached"] is True
    assert result.metrics["switch.killed"].values[0] > 0
    assert {victim["app"][:7] for victim in result.facts["victims"]} == {"zwb.app"}
    # Who killed it, from the phone's own logs. The kernel's holds only so many of its long reports.
    assert result.facts["victims"][-1]["reason"].startswith(("kernel", "lmkd"))
    assert result.facts["corrupt"] == 0


def test_packages_are_switched_and_the_bad_ones_are_named(phone: RunningPhone, tmp_path: Path) -> None:
    listed = lab("phone", "shell", "--name", "shelf", "pm", "list", "packages", "-3").stdout
    good = [line.removeprefix("package:") for line in listed.split() if line.removeprefix("package:") not in BAD][:4]
    apps = f"kind: packages, count: 7, packages: [{', '.join((*BAD, *good))}], rounds: 1, dwell: 200ms"
    (result,) = switched(phone, tmp_path, f"{apps}, writeback: [off]", disksize="256MiB")
    assert result.params["apps"] == len(good) == 4
    assert len(result.metrics["switch.latency"].values) == 4
    assert min(result.metrics["switch.latency"].values) > 0
    assert all(any(package in problem for problem in result.facts["problems"]) for package in BAD)
    assert Caveat.apps_crashed in result.caveats
