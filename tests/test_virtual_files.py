"""What the virtual phone's initramfs and guest files are made of."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from devices.virtual.cpio import Archive
from devices.virtual.guest_root import GUEST, words
from devices.virtual.packages import HOOKS


@dataclass
class Unpacked:
    mode: int
    uid: int
    gid: int
    device: tuple[int, int]
    content: bytes


def unpack(data: bytes) -> dict[str, Unpacked]:
    """A reader after the kernel's buffer-format.rst: 6 bytes of magic, 13 numbers of 8 hex digits."""
    found: dict[str, Unpacked] = {}
    at = 0
    while True:
        assert data[at : at + 6] == b"070701"
        numbers = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name = data[at + 110 : at + 110 + numbers[11] - 1].decode()
        start = -(-(at + 110 + numbers[11]) // 4) * 4
        if name == "TRAILER!!!":
            return found
        content = data[start : start + numbers[6]]
        found[name] = Unpacked(numbers[1], numbers[2], numbers[3], (numbers[9], numbers[10]), content)
        at = -(-(start + numbers[6]) // 4) * 4


def test_the_archive_holds_owners_setuid_links_and_devices_without_root(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"from disk")
    archive = Archive()
    archive.file("system/bin/su", b"odd", 0o4755)
    archive.file("init", tmp_path / "source", 0o755)
    archive.link("bin", "/system/bin")
    archive.folder("data", 0o771, uid=1000, gid=1000)
    archive.character_device("dev/null", 1, 3, 0o666)
    out = io.BytesIO()
    archive.write(out)
    files = unpack(out.getvalue())
    assert list(files) == ["system", "system/bin", "system/bin/su", "init", "bin", "data", "dev", "dev/null"]
    assert files["system/bin/su"] == Unpacked(0o104755, 0, 0, (0, 0), b"odd")
    assert files["init"].content == b"from disk"
    assert files["bin"] == Unpacked(0o120777, 0, 0, (0, 0), b"/system/bin")
    assert files["data"] == Unpacked(0o040771, 1000, 1000, (0, 0), b"")
    assert files["dev/null"] == Unpacked(0o020666, 0, 0, (1, 3), b"")
    assert len(out.getvalue()) % 512 == 0


def guest_scripts() -> list[Path]:
    return [GUEST / "init", GUEST / "etc/mkshrc", *sorted((GUEST / "bin").iterdir()), *sorted(HOOKS.iterdir())]


@pytest.mark.parametrize("script", guest_scripts(), ids=lambda path: path.name)
def test_guest_scripts_pass_shellcheck(script: Path) -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, script], capture_output=True, text=True, timeout=60)
    assert done.stdout == ""
    assert done.returncode == 0


@pytest.mark.parametrize("script", sorted((GUEST / "bin").iterdir()), ids=lambda path: path.name)
def test_guest_programs_run_with_the_phones_shell(script: Path) -> None:
    assert script.read_text().startswith("#!/system/bin/sh\n# shellcheck shell=ksh\n")


@pytest.mark.parametrize("foreign", ["su", "reboot", "wget", "httpd", "passwd", "killall5", "bash", "busybox"])
def test_what_phones_lack_is_not_among_the_applets(foreign: str) -> None:
    assert foreign not in words(GUEST / "etc/applets")
