"""Patches of zram's driver: what is taken, what is refused in which words; and the rules that make mutants."""

from __future__ import annotations

from pathlib import Path

import pytest

from base.errors import EXIT_USAGE, EnvironmentRefused, PatchRefused
from base.paths import REPO
from devices.fake.modules import module_file
from devices.virtual.image import ensure_image
from devices.virtual.machines import DEFAULT, MACHINES, Machine
from devices.virtual.module_build import BuiltModule, Patch, build_module, build_zram, module_for
from devices.virtual.module_sources import ModuleSources, ensure_sources
from devices.virtual.mutants import MUTANTS, Edit, Mutant
from devices.virtual.packages import Mirror, extract_module_source
from tests.test_virtual_packages import fake_mmdebstrap

PATCHES = sorted((REPO / "docs/patches").glob("*.patch"))
HEAD = "--- a/drivers/block/zram/{0}\n+++ b/drivers/block/zram/{0}\n@@ -1 +1 @@\n"
DRIVER = """\
static void one(struct zram *zram);

static void one(struct zram *zram)
{
	if (!zram->limit)
		return;
	lock(zram);
}

static int two(struct zram *zram,
		int index)
{
	lock(zram);
	lock(zram);
	return 0;
}
"""


@pytest.mark.parametrize("path", PATCHES, ids=lambda path: path.stem)
def test_our_patches_change_the_driver_alone_and_say_under_which_licence(path: Path) -> None:
    patch = Patch.read(path)
    assert b"SPDX-License-Identifier: GPL-2.0" in patch.text
    assert patch.version == f"patch-{patch.sha256[:12]}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("just words\n", "no patch in it"),
        (
            "--- a/mm/zsmalloc.c\n+++ b/mm/zsmalloc.c\n@@ -1 +1 @@\n-a\n+b\n",
            r"changes mm/zsmalloc\.c; only drivers/block",
        ),
        ("--- a/drivers/block/zram/../x.c\n+++ b/drivers/block/zram/../x.c\n@@ -1 +1 @@\n", r"changes .*\.\./x\.c"),
        ("--- a/drivers/block/zram/a.c\n+++ /etc/passwd\n@@ -1 +1 @@\n", "changes etc/passwd"),
        (None, "No such file"),
    ],
)
def test_what_is_no_patch_of_the_driver_is_refused_by_name(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "x.patch"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PatchRefused, match=says) as refused:
        Patch.read(path)
    assert str(path) in str(refused.value)
    assert refused.value.exit_status == EXIT_USAGE


def test_headers_that_the_mirror_does_not_have_are_told_with_those_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_mmdebstrap(tmp_path, monkeypatch, "fetch-module-source: none; this suite has: 7.3.5+deb13-arm64\nE: failed")
    mirror = Mirror("http://m", "--mirror")
    says = r"no headers of kernel 7\.3\.4\+deb13-arm64; there it has 7\.3\.5\+deb13-arm64"
    with pytest.raises(EnvironmentRefused, match=says) as refused:
        extract_module_source(DEFAULT, "7.3.4+deb13-arm64", tmp_path / "tree", mirror, log=tmp_path / "log")
    assert "--refresh" in refused.value.hint


def test_an_edit_is_made_in_its_function_whatever_the_blanks() -> None:
    edited = Edit("one", "if (!zram->limit) return;", "").apply(DRIVER)
    assert edited == DRIVER.replace("if (!zram->limit)\n\t\treturn;", "")
    assert Edit("one", "lock(zram);", "").apply(DRIVER).count("lock(zram);") == 2


@pytest.mark.parametrize(
    ("edit", "times"),
    [(Edit("two", "lock(zram);", ""), 2), (Edit("one", "unlock(zram);", ""), 0), (Edit("three", "lock(zram);", ""), 0)],
)
def test_an_edit_that_fits_no_place_or_two_is_an_error(edit: Edit, times: int) -> None:
    with pytest.raises(EnvironmentRefused, match=f"is there {times} times"):
        edit.apply(DRIVER)


def test_a_mutant_becomes_a_patch(tmp_path: Path) -> None:
    kernel = tmp_path / "kernel"
    source = kernel / "source/drivers/block/zram/zram_drv.c"
    source.parent.mkdir(parents=True)
    source.write_text(DRIVER)
    mutant = Mutant("no-lock", "nobody waits", (Edit("one", "lock(zram);", ""),))
    patch = mutant.patch(ModuleSources(DEFAULT, "7.3", kernel, tmp_path, "key"))
    patch.check()
    assert [line for line in patch.text.decode().splitlines()[2:] if line[0] in "+-"] == ["-\tlock(zram);", "+\t"]


def test_mutants_are_told_apart_and_are_enough() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len({mutant.defect for mutant in MUTANTS}) == len(MUTANTS) >= 16


def test_a_module_that_is_there_is_taken_and_none_is_built_for_a_real_phone(tmp_path: Path) -> None:
    ko = tmp_path / "zram.ko"
    ko.write_bytes(module_file("a5" * 20))
    assert module_for(str(ko), None, progress=print) == ko
    for wanted in ("stock", str(PATCHES[0])):
        with pytest.raises(EnvironmentRefused, match="built for virtual phones only"):
            module_for(wanted, None, progress=print)


def sources(machine: Machine = DEFAULT) -> ModuleSources:
    return ensure_sources(machine, ensure_image(machine, progress=print).kernel_release, progress=print)


def build(text: str) -> BuiltModule:
    return build_module(sources(), Patch("my.patch", text.encode()), progress=print)


@pytest.mark.builds
def test_a_patch_that_does_not_apply_is_told_with_the_place() -> None:
    with pytest.raises(PatchRefused, match=r"my\.patch does not apply .*Hunk #1 FAILED at 1") as refused:
        build(HEAD.format("zcomp.c") + "-nobody ever wrote this\n+b\n")
    assert refused.value.exit_status == EXIT_USAGE


@pytest.mark.builds
def test_a_patch_that_does_not_compile_is_told_with_the_compilers_words_and_line() -> None:
    line = (sources().driver / "zcomp.c").read_text().splitlines()[0]
    with pytest.raises(PatchRefused, match=r"drivers/block/zram/zcomp\.c:2:\d+: error: .*nonsense") as refused:
        build(f"{HEAD.format('zcomp.c')}-{line}\n+{line}\n+nonsense;\n".replace("@@ -1 +1 @@", "@@ -1 +1,2 @@"))
    assert refused.value.exit_status == EXIT_USAGE


@pytest.mark.builds
def test_stock_built_twice_is_the_same_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, from_here = build_zram(DEFAULT, progress=print).module, sources()
    monkeypatch.setenv("ZRAM_LAB_CACHE", str(tmp_path))
    again = build_module(from_here, None, progress=print).module
    assert (again.build_id, again.path.read_bytes()) == (first.build_id, first.path.read_bytes())


@pytest.mark.builds
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mutant_builds_and_is_another_module(mutant: Mutant) -> None:
    stock = build_zram(DEFAULT, progress=print).module.build_id
    assert build_module(sources(), mutant.patch(sources()), progress=print).module.build_id != stock


@pytest.mark.builds
@pytest.mark.machines
@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_stock_builds_for_every_machine(machine: Machine) -> None:
    built = build_zram(machine, progress=print)
    assert built.module.release == built.release
