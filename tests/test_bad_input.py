"""Mistakes on the command line: one message that says what to do, the right exit status, and nothing else happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import lab
from tests.fake_adb_server import AdbServer, Reply, uid_shell


@pytest.fixture
def server() -> Iterator[AdbServer]:
    with AdbServer({"0A1B": "device", "2C3D": "unauthorized"}, uid_shell(2000)) as server:
        yield server


def refused(server: AdbServer, tmp_path: Path, *argv: str) -> tuple[int, str]:
    """Exit status and what is said; no results folder may have been made."""
    results = tmp_path / "results"
    options = () if "--results" in argv else ("--results", str(results))
    done = lab("run", *argv, *options, env={"ANDROID_ADB_SERVER_PORT": str(server.port)})
    assert not results.exists()
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


def test_a_wrong_profile_is_told_with_file_and_line_before_any_phone_is_touched(
    server: AdbServer, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nconnection: {adb: {serial: 0A1B}}\nsweep:\n  repeat: 3\nbacking: {size: 12 parsecs}\n")
    status, said = refused(server, tmp_path, "--device", str(path))
    assert status == 4
    assert f"{path}:4: sweep.repeat" in said
    assert "repeats" in said
    assert f"{path}:5: backing.size" in said
    assert server.services == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--batch-sizes", "1,many"), ["--batch-sizes 1,many: not a list of numbers", "1,8,32"]),
        (("--batch-sizes", "1,5000"), ["--batch-sizes: 5000 is too large", "at most 4096"]),
        (("--repeats", "0"), ["--repeats: 0 is too small"]),
        (("--device", "pixel-8", "--kernel", "6.12"), ["--kernel: profile pixel-8 is not a virtual phone's"]),
        (("--device", "virtual", "--device", "virtual"), ["--device virtual: named twice"]),
        (("--device", "no/such.yaml"), ["no/such.yaml: no such file"]),
    ],
)
def test_an_option_that_makes_no_sense_is_a_usage_error(
    server: AdbServer, tmp_path: Path, options: tuple[str, ...], words: list[str]
) -> None:
    status, said = refused(server, tmp_path, *options)
    assert [word for word in words if word not in said] == [], said
    assert status == 4
    assert server.services == []


@pytest.mark.parametrize(
    "selection",
    [("-k", "no_such_test"), ("-m", "nosuchmark"), ("suites/test_writeback_throughput.py::test_that_is_not_there",)],
    ids=["-k", "-m", "::"],
)
def test_a_selection_that_selects_nothing_touches_no_phone(
    server: AdbServer, tmp_path: Path, selection: tuple[str, ...]
) -> None:
    status, said = refused(server, tmp_path, "--device", "0A1B", *selection)
    assert status == (5 if selection[0] == "-k" else 4), said
    assert "no phone was touched" in said
    assert server.services == []


def test_a_selection_by_the_name_of_a_point_finds_it_before_the_phone_is_asked(
    server: AdbServer, tmp_path: Path
) -> None:
    for name in ("incompressible-sparse", "zstd", "writeback_throughput"):
        status, said = refused(server, tmp_path, "--device", "0A1B", "-k", name)
        assert (status, "0A1B: no root" in said) == (11, True), said


def test_a_serial_that_is_not_attached_is_refused_with_a_list_of_those_that_are(
    server: AdbServer, tmp_path: Path
) -> None:
    status, said = refused(server, tmp_path, "--device", "NOSUCH")
    assert status == 11
    assert "no phone NOSUCH on adb; attached: 0A1B (device), 2C3D (unauthorized)" in said
    assert set(server.services) == {"host:version", "host:devices"}


def test_a_phone_that_is_not_allowed_yet_is_refused_with_what_to_do(server: AdbServer, tmp_path: Path) -> None:
    status, said = refused(server, tmp_path, "--device", "2C3D")
    assert status == 11
    assert "phone 2C3D is unauthorized" in said
    assert "allow USB debugging" in said


def test_a_phone_without_root_is_refused(server: AdbServer, tmp_path: Path) -> None:
    status, said = refused(server, tmp_path, "--device", "0A1B")
    assert status == 11
    assert "0A1B: no root" in said


@pytest.mark.parametrize("greeting", [b"SSH-2.0-something\r\n", Reply.close], ids=str)
def test_a_port_without_an_adb_server_is_named(tmp_path: Path, greeting: bytes | Reply) -> None:
    with AdbServer(greeting=greeting) as server:
        status, said = refused(server, tmp_path, "--device", "0A1B")
        assert status == 11
        assert f"127.0.0.1:{server.port} does not answer as an adb server" in said


def test_a_results_folder_that_cannot_be_made_is_told_before_any_phone_is_touched(
    server: AdbServer, tmp_path: Path
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    status, said = refused(server, tmp_path, "--device", "0A1B", "--results", str(in_the_way / "results"))
    assert status == 11
    assert f"{in_the_way / 'results'}: cannot write: {in_the_way} is not a folder" in said
    assert "--results" in said
    assert server.services == []


def test_several_phones_each_get_their_verdict(server: AdbServer, tmp_path: Path) -> None:
    results = tmp_path / "results"  # what each of them said is there
    argv = ("run", "--device", "0A1B", "--device", "NOSUCH", "--results", str(results))
    done = lab(*argv, env={"ANDROID_ADB_SERVER_PORT": str(server.port)})
    said = done.stdout + done.stderr
    assert done.returncode == 11
    assert "0A1B: exit status 11: 0A1B: no root" in said
    assert "NOSUCH: exit status 11: no phone NOSUCH on adb" in said
    table = [line.split()[:4] for line in said.splitlines()[-2:]]
    assert table == [["0A1B", "exit", "status", "11"], ["NOSUCH", "exit", "status", "11"]], said


@pytest.mark.parametrize(
    "argv",
    [
        ("doctor", "--nope"), ("restore", "--nope"), ("validate", "--nope"), ("report",), ("compare", "one"),
        ("phone", "start", "--nope"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_wrong_option_is_a_usage_error_everywhere(argv: tuple[str, ...]) -> None:
    done = lab(*argv)
    assert (done.returncode, done.stdout) == (4, "")
    assert f"lab {argv[0]}" in done.stderr
