"""The cache of what the virtual phone is built from: whole or not there, built once, damage noticed."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from base.errors import EnvironmentRefused
from devices.virtual.parts import Part, ensure, manifest, virtual_cache


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_CACHE", str(tmp_path / "cache"))


class Builder:
    """Makes a part with a vital and another file, and counts how often."""

    def __init__(self, *, inputs: tuple[str | Path, ...] = ("1",), before: Callable[[], None] = lambda: None) -> None:
        self.built = 0
        self.said: list[str] = []
        self.part = Part("thing", inputs, self._make, vital=("vital",), needs_bytes=0)
        self._before = before

    def _make(self, home: Path) -> dict[str, Any]:
        self._before()
        self.built += 1
        (home / "vital").write_text("kernel")
        (home / "other").write_text("library")
        return {"packages": {"qemu": "10"}}

    def ensure(self, **how: bool) -> Path:
        return ensure(self.part, progress=self.said.append, **how)


def test_built_once_then_taken_from_the_cache() -> None:
    builder = Builder()
    assert builder.ensure() == builder.ensure()
    assert builder.built == 1


def test_the_manifest_records_versions_sizes_and_hashes() -> None:
    recorded = manifest(Builder().ensure())
    assert recorded["packages"] == {"qemu": "10"}
    assert recorded["files"]["other"] == {"bytes": 7, "sha256": hashlib.sha256(b"library").hexdigest()}


def test_other_inputs_are_another_folder(tmp_path: Path) -> None:
    file = tmp_path / "list"
    file.write_text("zram")
    first = Builder(inputs=(file,)).ensure()
    file.write_text("zram loop")
    assert Builder(inputs=(file,)).ensure() != first
    assert Builder(inputs=("ab", "c")).part.key != Builder(inputs=("a", "bc")).part.key


@pytest.mark.parametrize(
    ("name", "content"),
    [("vital", "kernel!"), ("vital", "KERNEL"), ("other", "cut"), ("manifest.json", "{"), ("manifest.json", "[]")],
)
def test_damage_is_noticed_said_and_mended(name: str, content: str) -> None:
    builder = Builder()
    (builder.ensure() / name).write_text(content)
    home = builder.ensure()
    assert builder.built == 2
    assert (home / "vital").read_text() == "kernel"
    assert "the cache is damaged" in builder.said[0]


def test_a_missing_file_is_damage() -> None:
    builder = Builder()
    (builder.ensure() / "other").unlink()
    assert (builder.ensure() / "other").read_text() == "library"


def test_only_a_thorough_look_reads_every_file() -> None:
    builder = Builder()
    (builder.ensure() / "other").write_text("LIBRARY")
    builder.ensure()
    assert builder.built == 1
    builder.ensure(thorough=True)
    assert builder.built == 2


def test_refresh_builds_again() -> None:
    builder = Builder()
    builder.ensure()
    builder.ensure(refresh=True)
    assert builder.built == 2


def test_a_failed_build_leaves_nothing_behind() -> None:
    def fail() -> None:
        raise EnvironmentRefused("no network")

    with pytest.raises(EnvironmentRefused, match="no network"):
        Builder(before=fail).ensure()
    assert [path.name for path in virtual_cache().iterdir() if path.name != "build.lock"] == []


def test_two_builders_build_once() -> None:
    inside, go = threading.Event(), threading.Event()

    def slowly() -> None:
        inside.set()
        assert go.wait(10)

    first, second = Builder(before=slowly), Builder()
    one = threading.Thread(target=first.ensure)
    one.start()
    assert inside.wait(10)
    two = threading.Thread(target=second.ensure)
    two.start()
    while not second.said:
        two.join(0.01)
    go.set()
    one.join(10)
    two.join(10)
    assert (first.built, second.built) == (1, 0)
    assert second.said == ["waiting for another process that is building the virtual phone"]


def test_a_full_disk_is_refused_before_anything_is_fetched() -> None:
    builder = Builder()
    part = Part("thing", ("1",), builder.part.make, vital=(), needs_bytes=1 << 60)
    with pytest.raises(EnvironmentRefused, match="MiB are free") as caught:
        ensure(part, progress=print)
    assert builder.built == 0
    assert "ZRAM_LAB_CACHE" in caught.value.hint
