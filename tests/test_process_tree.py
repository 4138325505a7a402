"""Runs on several phones are one tree: signals reach each of them, their ends are waited for, none is left over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from base.deadline import Deadline, wait_until
from tests.conftest import REPO
from tests.fake_adb_server import AdbServer, Reply, uid_shell

PHONES = ("--device", "A1", "--device", "B2")


def silent_shell(command: str) -> tuple[bytes, Reply]:
    return b"", Reply.hang


def run_command(folder: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "commands", "run", "--results", str(folder / "results"), *options]


@contextmanager
def started(server: AdbServer, folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A run, once each of its phones was spoken to."""
    env = os.environ | {"ANDROID_ADB_SERVER_PORT": str(server.port), "PYTHONPATH": str(REPO)}
    log = (folder / "log").open("wb")
    with (
        log,
        subprocess.Popen(
            run_command(folder, *options),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            # A test in this process may have put a run back: signals are ignored then, and a child would inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        ) as process,
    ):
        try:
            wait_until("two shells", lambda: shells(server) >= 2, Deadline.after(60))
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def shells(server: AdbServer) -> int:
    return sum(service.startswith("shell") for service in server.services)


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture
def server() -> Iterator[AdbServer]:
    with AdbServer({"A1": "device", "B2": "device"}, silent_shell) as server:
        yield server


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_to_a_run_on_two_phones_ends_both_and_is_waited_for(
    server: AdbServer, tmp_path: Path, number: signal.Signals
) -> None:
    with started(server, tmp_path, *PHONES) as process:
        children = children_of(process.pid)
        process.send_signal(number)
        status = process.wait(60)
        left = [pid for pid in children if not has_ended(pid)]
    assert (len(children), left) == (2, [])
    assert status == 2, (tmp_path / "log").read_text()
    lines = (tmp_path / "log").read_text().splitlines()
    assert {line.partition(":")[0] for line in lines if ": exit status 2" in line} == {"A1", "B2"}
    assert [line.split()[:4] for line in lines[-2:]] == [["A1", "exit", "status", "2"], ["B2", "exit", "status", "2"]]


def test_a_run_whose_parent_was_killed_ends_too(server: AdbServer, tmp_path: Path) -> None:
    with started(server, tmp_path, *PHONES) as process:
        children = children_of(process.pid)
        process.kill()
        wait_until("both to end", lambda: all(map(has_ended, children)), Deadline.after(60))
    assert len(children) == 2


def test_one_that_is_killed_is_named_with_what_to_do_and_is_the_worst_of_all(server: AdbServer, tmp_path: Path) -> None:
    with started(server, tmp_path, *PHONES) as process:
        first, _ = children_of(process.pid)
        os.kill(first, signal.SIGKILL)
        process.send_signal(signal.SIGTERM)
        status = process.wait(60)
    assert status == 13
    assert "killed by SIGKILL; `./lab restore --device " in (tmp_path / "log").read_text()


def test_each_phone_has_a_junit_file_of_its_own(tmp_path: Path) -> None:
    with AdbServer({"A1": "device", "B2": "device"}, uid_shell(2000)) as server:
        done = subprocess.run(
            run_command(tmp_path, *PHONES, f"--junitxml={tmp_path}/both.xml"), capture_output=True, text=True,
            env=os.environ | {"ANDROID_ADB_SERVER_PORT": str(server.port), "PYTHONPATH": str(REPO)}, timeout=60,
            check=False,
        )  # fmt: skip
    assert done.returncode == 11, done.stderr
    assert sorted(path.name for path in tmp_path.glob("*.xml")) == ["both-A1.xml", "both-B2.xml"]
    for path in tmp_path.glob("*.xml"):
        assert ET.parse(path).getroot().tag == "testsuites"
