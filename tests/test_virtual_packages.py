"""Where the virtual phone's packages come from, and what is said when they do not come."""

from __future__ import annotations

from pathlib import Path

import pytest

from base.errors import EnvironmentRefused
from devices.virtual.machines import find
from devices.virtual.packages import DEFAULT_MIRROR, Mirror, choose_mirror, extract, extract_kernel, require_tools

DEB822 = """\
Types: deb
URIs: {url}
Suites: bookworm
Components: main
{more}
"""


def etc_apt(folder: Path, **files: str) -> Path:
    (folder / "sources.list.d").mkdir(parents=True)
    for name, text in files.items():
        where = folder if name == "sources_list" else folder / "sources.list.d"
        (where / name.replace("_", ".")).write_text(text)
    return folder


@pytest.fixture(autouse=True)
def no_mirror_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZRAM_LAB_MIRROR", raising=False)


def test_the_option_is_stronger_than_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_MIRROR", "http://env.example/debian")
    assert choose_mirror("http://option.example/debian").url == "http://option.example/debian"
    assert choose_mirror(etc_apt=tmp_path) == Mirror("http://env.example/debian", "$ZRAM_LAB_MIRROR")


def test_the_hosts_own_debian_mirror_is_used(tmp_path: Path) -> None:
    security = DEB822.format(url="http://near.example/debian-security", more="")
    main = DEB822.format(url="http://near.example/debian/", more="")
    apt = etc_apt(tmp_path, debian_sources=f"{security}\n{main}")
    assert choose_mirror(etc_apt=apt) == Mirror("http://near.example/debian", "the host's apt")


def test_one_line_sources_are_understood(tmp_path: Path) -> None:
    apt = etc_apt(
        tmp_path,
        sources_list="# deb http://old.example/debian x main\n"
        "deb [arch=amd64 signed-by=/k.gpg] https://near.example/debian bookworm main\n",
    )
    assert choose_mirror(etc_apt=apt).url == "https://near.example/debian"


@pytest.mark.parametrize(
    "sources",
    [
        DEB822.format(url="http://near.example/debian", more="Enabled: no"),
        DEB822.format(url="http://archive.ubuntu.com/ubuntu", more=""),
        DEB822.format(url="file:/srv/debian", more=""),
    ],
    ids=["disabled", "Ubuntu", "not over http"],
)
def test_else_debians_own(tmp_path: Path, sources: str) -> None:
    assert choose_mirror(etc_apt=etc_apt(tmp_path, x_sources=sources)) == Mirror(DEFAULT_MIRROR, "default")


def test_a_missing_mmdebstrap_is_named_with_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EnvironmentRefused, match="mmdebstrap is missing") as caught:
        require_tools()
    assert "apt-get install mmdebstrap debian-archive-keyring" in caught.value.hint


def fake_mmdebstrap(folder: Path, monkeypatch: pytest.MonkeyPatch, says: str, status: int = 1) -> None:
    program = folder / "mmdebstrap"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\nexit {status}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.parametrize(
    ("says", "meaning", "hint"),
    [
        ("E: Failed to fetch http://m/x  Could not resolve 'm'", "cannot be reached", "--mirror"),
        ("W: Err:1 http://m trixie InRelease\nConnection timed out", "cannot be reached", "--mirror"),
        ("E: The repository 'http://m trixie Release' does not have a Release file.", "does not have", "trixie"),
        ("E: Failed to fetch http://m/Packages  Hash Sum mismatch\nErr:3", "not what Debian signed", "Nothing of it"),
        ("E: Failed to fetch http://m/a.deb  File has unexpected size (1 != 2).", "not what Debian signed", "--mirror"),
        ("W: GPG error: http://m trixie: NO_PUBKEY 6ED0E7B82643E131", "signature", "debian-archive-keyring"),
        ("tar: ./usr: Cannot mkdir: No space left on device", "disk is full", "ZRAM_LAB_CACHE"),
        ("E: Release file for http://m is expired (invalid since 5d).", "too old", "clock"),
        ("something that nobody has seen before", "something that nobody has seen before", "log"),
    ],
)
def test_why_mmdebstrap_failed_is_told_in_plain_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, meaning: str, hint: str
) -> None:
    fake_mmdebstrap(tmp_path, monkeypatch, says)
    with pytest.raises(EnvironmentRefused, match=meaning) as caught:
        extract(("adbd",), tmp_path / "root", Mirror("http://m", "--mirror"), debian="arm64", log=tmp_path / "log")
    assert "http://m (chosen by --mirror)" in str(caught.value)
    assert hint in caught.value.hint


def test_a_kernel_that_the_mirror_does_not_have_names_those_that_can_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_mmdebstrap(tmp_path, monkeypatch, "fetch-kernel: none; this suite has: 7.2 7.3\nE: setup failed")
    machine, mirror = find("6.18", "arm64", 4096), Mirror("http://m", "--mirror")
    said = r"no kernel 6\.18 for arm64 in trixie-backports; there it has 7\.2, 7\.3"
    with pytest.raises(EnvironmentRefused, match=said) as caught:
        extract_kernel(machine, tmp_path / "tree", mirror, log=tmp_path / "log")
    assert "--kernel 7.3 or 6.12 or 6.1 or 5.10 can be had" in caught.value.hint
    assert "snapshot.debian.org" in caught.value.hint
