"""Output that nobody takes, or that a terminal cannot show: no traceback, and the exit status is the truth."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from base.output import Output
from tests import reports_sample as sample
from tests.conftest import REPO
from tests.fake_adb_server import AdbServer, uid_shell

EVIL = "0A1B\x1b[2J\x1b]0;owned\x07"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample.write_run(tmp_path_factory.mktemp("results"))


@pytest.fixture
def server() -> Iterator[AdbServer]:
    with AdbServer({EVIL: "device"}, uid_shell(2000)) as server:
        yield server


def command(*argv: str) -> list[str]:
    return [sys.executable, "-m", "commands", *argv]


def environment(state: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPO), "ZRAM_LAB_STATE": str(state), **more}


COMMANDS = {
    "report": ("report", "{run}"), "compare": ("compare", "{run}", "{run}"), "validate": ("validate",),
    "doctor": ("doctor", "--device", "0A1B"), "phone": ("phone", "list"), "restore": ("restore",),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("stdout", ["full", "pipe", "closed"])
def test_nobody_takes_what_a_command_says(
    name: str, stdout: str, run_folder: Path, server: AdbServer, tmp_path: Path
) -> None:
    argv = command(*(word.format(run=run_folder) for word in COMMANDS[name]))
    env = environment(tmp_path / "state", ANDROID_ADB_SERVER_PORT=str(server.port))
    plain = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    shell = {"full": '"$@" > /dev/full', "pipe": '{ "$@"; echo $? >&3; } 3>&2 | true', "closed": '"$@" >&-'}[stdout]
    done = subprocess.run(
        ["bash", "-c", shell, "bash", *argv], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    if stdout == "pipe":
        assert done.stderr.splitlines()[-1] == str(plain.returncode)
    elif stdout == "full" and plain.stdout:
        assert "lab: standard output: cannot write: No space left on device" in done.stderr
        assert done.returncode == (plain.returncode or 11)
    else:
        assert done.returncode == plain.returncode


@pytest.mark.parametrize("name", ["report", "compare", "doctor"])
def test_a_terminal_that_has_ascii_only_gets_ascii(
    name: str, run_folder: Path, server: AdbServer, tmp_path: Path
) -> None:
    argv = command(*(word.format(run=run_folder) for word in COMMANDS[name]))
    settings = {"PYTHONIOENCODING": "ascii", "ANDROID_ADB_SERVER_PORT": str(server.port)}
    done = subprocess.run(
        argv, env=environment(tmp_path / "state", **settings), capture_output=True, timeout=60, check=False
    )
    assert b"Traceback" not in done.stderr
    done.stdout.decode("ascii")
    if name == "report":
        assert b" us" in done.stdout


def test_what_a_phone_says_does_not_reach_the_terminal_as_a_command(server: AdbServer, tmp_path: Path) -> None:
    env = environment(tmp_path / "state", ANDROID_ADB_SERVER_PORT=str(server.port))
    for argv in (command("doctor"), command("restore", "--device", EVIL)):
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert "\x1b" not in done.stdout + done.stderr
        assert "\x07" not in done.stdout + done.stderr


@pytest.mark.parametrize("asked", ["restore", "run --device 0A1B", "profile new --device 0A1B", "doctor --device 0A1B"])
def test_a_home_that_is_a_file_is_named_even_where_no_adb_server_runs(tmp_path: Path, asked: str) -> None:
    home = tmp_path / "file"
    home.write_text("")
    gone = {"ZRAM_LAB_STATE", "ZRAM_LAB_CACHE", "XDG_STATE_HOME", "XDG_CACHE_HOME"}
    env = {name: value for name, value in os.environ.items() if name not in gone}
    with socket.socket() as held:  # bound and not listened on: no adb server can be there
        held.bind(("127.0.0.1", 0))
        port = str(held.getsockname()[1])
    env |= {"HOME": str(home), "PYTHONPATH": str(REPO), "ANDROID_ADB_SERVER_PORT": port}
    done = subprocess.run(command(*asked.split()), env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 11
    assert f"HOME={home}: no folder" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_colours_pass_where_they_are_drawn_and_nothing_else_does(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with path.open("wb") as file:
        drawn = Output(os.dup(file.fileno()), drawing=True)
        drawn.write("\x1b[32mgreen\x1b[0m \x1b]0;owned\x07 \x1b[6n\r50%\n")
        drawn.close()
    assert path.read_text(encoding="utf-8").split("\n")[0].startswith("\x1b[32mgreen\x1b[0m \ufffd]0;owned\ufffd ")
    assert "\x1b[6n" not in path.read_text(encoding="utf-8")
