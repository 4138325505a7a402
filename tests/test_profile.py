"""Profiles that are right: loading, inheritance, plans, options, picking one for a phone."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest

from base.errors import EXIT_USAGE, ProfileError
from base.units import GIB, MIB
from commands.validate import main as validate
from devices.profiles.profile import (
    AdbConnection,
    Backing,
    BackingKind,
    Connection,
    PageKind,
    Plan,
    Profile,
    Root,
    SlotOrder,
    Sweep,
    VirtualConnection,
)
from devices.profiles.reading import SHIPPED, known, load, match_profile, resolved
from devices.profiles.what_is_measured import SuiteName

SHIPPED_NAMES = ["android-gki", "galaxy-s23", "generic", "pixel-6", "pixel-8", "redmi-k70", "virtual"]


@pytest.fixture(autouse=True)
def _only_shipped_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZRAM_LAB_PROFILES", raising=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own folder of profiles."""
    monkeypatch.setenv("ZRAM_LAB_PROFILES", str(tmp_path))
    return tmp_path


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_shipped_profiles_are_known_by_their_names() -> None:
    assert known() == SHIPPED_NAMES
    assert [load(name).name for name in known()] == SHIPPED_NAMES


@pytest.mark.parametrize("name", SHIPPED_NAMES)
@pytest.mark.parametrize("plan", Plan)
def test_a_shipped_plan_writes_less_than_its_profile_allows(name: str, plan: Plan) -> None:
    profile = load(name).for_plan(plan)
    assert profile.planned_writes <= profile.limits.written_per_run


@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_only_what_was_tried_says_so_and_editors_find_the_schema(name: str) -> None:
    first_line = (SHIPPED / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    schema = (SHIPPED / first_line.removeprefix("# yaml-language-server: $schema=")).resolve()
    assert schema.is_file()
    assert load(name).tried == (name == "virtual")


def test_generic_spells_out_the_defaults() -> None:
    generic = load("generic")
    assert generic.model_copy(update={"plans": Profile(name="generic").plans}) == Profile(name="generic")


def test_the_virtual_profile_is_sized_for_two_slow_cores() -> None:
    virtual = load("virtual")
    quick = virtual.for_plan("quick")
    assert virtual.connection == Connection(
        virtual=VirtualConnection(kernel="7.3", memory=2 * GIB, cpus=2, ufs=4 * GIB)
    )
    assert virtual.zram.disksize == 512 * MIB
    assert (virtual.backing.size, virtual.backing.path) == (256 * MIB, "/data/per_boot/zram_writeback")
    assert (quick.sweep.batch_sizes, quick.sweep.sizes) == ((1, 8, 32, 64, 128), (None,))
    assert (quick.budget, quick.sweep.repeats, quick.faults.samples) == (240, 30, 1600)
    assert quick.sweep.pages == (PageKind.incompressible,)


def test_every_kind_of_value_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "full",
        """\
name: full
match: {model: Pixel *}
connection: {adb: {serial: 0A1B2C, server: "[::1]:5037"}}
root: su-c
must_have: [writeback, idle_age]
zram: {device: hot_add, disksize: 2GiB, comp_algorithm: lzo-rle}
backing: {kind: partition, path: /dev/block/by-name/spare, erase: true}
sweep: {batch_sizes: [1, 4096], data: [64MiB], pages: [compressible], order: [sequential], repeats: 1, warmups: 0}
apps: {kind: packages, packages: [com.example.mail, org.example.maps]}
limits: {temperature: 41.5, battery: 50, written_per_run: 1TiB, cooldown: 90s}
deadlines: {command: 500ms, boot: 2h}
""",
    )
    profile = load(path)
    assert profile.connection == Connection(adb=AdbConnection(serial="0A1B2C", server="[::1]:5037"))
    assert profile.root == Root.su_c
    assert profile.zram.comp_algorithm == "lzo-rle"
    assert (profile.backing.kind, profile.backing.erase) == (BackingKind.raw_partition, True)
    assert profile.sweep.batch_sizes == (1, 4096)
    assert profile.sweep.order == (SlotOrder.sequential,)
    assert profile.apps.packages == ("com.example.mail", "org.example.maps")
    assert (profile.limits.temperature, profile.limits.cooldown) == (41.5, 90.0)
    assert (profile.deadlines.command, profile.deadlines.boot) == (0.5, 7200.0)


def test_profiles_are_frozen() -> None:
    sweep = Sweep()
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        sweep.repeats = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("connection: {virtual: {kernel: 7.3}}", "7.3"),
        ('connection: {virtual: {kernel: "7.3"}}', "7.3"),
        ("connection: {adb: {serial: 0123456}}", "0123456"),
        ("connection: {adb: {serial: 7.10}}", "7.10"),
        ("connection: {adb: {serial: 12e03}}", "12e03"),
        ("connection: {adb: {serial: 2026-11-23}}", "2026-11-23"),
        ("connection: {adb: {serial: off}}", "off"),
        ("connection: {adb: {serial: 10:30}}", "10:30"),
    ],
)
def test_text_is_what_was_written_and_not_what_yaml_makes_of_it(tmp_path: Path, text: str, expected: str) -> None:
    connection = load(write(tmp_path, "plain", f"name: plain\n{text}\n")).connection
    assert expected == (connection.virtual.kernel if connection.virtual else connection.adb and connection.adb.serial)


@pytest.mark.parametrize(("word", "value"), [("true", True), ("on", True), ("no", False), ("False", False)])
def test_booleans_may_be_spelled_as_in_old_yaml(tmp_path: Path, word: str, value: bool) -> None:
    path = write(tmp_path, "plain", f"name: plain\nbacking: {{direct_io: {word}}}\n")
    assert load(path).backing.direct_io is value


def test_a_name_may_be_a_word_that_yaml_takes_for_a_boolean(tmp_path: Path) -> None:
    assert load(write(tmp_path, "no", "name: no\n")).name == "no"


@pytest.mark.parametrize("text", ["name: x\n", "\ufeffname: x\n", "name: x", "# comment\nname: x\r\n", "{name: x}"])
def test_files_of_all_editors_are_read(tmp_path: Path, text: str) -> None:
    assert load(write(tmp_path, "x", text)).name == "x"


def test_sizes_may_be_plain_numbers_with_underscores(tmp_path: Path) -> None:
    path = write(tmp_path, "x", "name: x\nzram: {disksize: 1_073_741_824}\nbacking: {block_size: 512}\n")
    assert (load(path).zram.disksize, load(path).backing.block_size) == (GIB, 512)


def test_anchors_and_aliases_work(tmp_path: Path) -> None:
    text = "name: x\nsweep: &few {repeats: 5}\nplans: {nightly: {sweep: *few}}\n"
    profile = load(write(tmp_path, "x", text))
    assert (profile.sweep.repeats, profile.for_plan("nightly").sweep.repeats) == (5, 5)


def test_a_child_wins_lists_are_replaced_and_identity_is_not_inherited(folder: Path) -> None:
    write(folder, "parent", "name: parent\nextends: generic\ntried: true\nmatch: {device: p}\nsweep: {repeats: 3}\n")
    write(folder, "child", "name: child\nextends: parent\nsweep: {batch_sizes: [1]}\nlimits: {battery: 5}\n")
    child = load("child")
    assert (child.sweep.batch_sizes, child.sweep.repeats) == ((1,), 3)
    assert (child.limits.battery, child.limits.written_per_run) == (5, 25 * GIB)
    assert (child.tried, child.match, child.plans) == (False, None, load("generic").plans)


def test_a_parent_may_be_a_path_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path, "base", "name: base\nfaults: {samples: 1234}\n")
    child = write(tmp_path / "sub", "child", "name: child\nextends: ../base.yaml\n")
    assert load(child).faults.samples == 1234


def test_a_file_may_extend_the_shipped_profile_of_its_own_name(folder: Path) -> None:
    write(folder, "pixel-8", "name: pixel-8\nextends: pixel-8\nconnection: {adb: {serial: 0A1B}}\n")
    mine = load("pixel-8")
    assert mine.connection == Connection(adb=AdbConnection(serial="0A1B"))
    assert mine.plans == load("generic").plans


def test_null_takes_back_what_a_parent_gave(folder: Path) -> None:
    write(folder, "base", "name: base\nzram: {comp_algorithm: lz4}\n")
    write(folder, "child", "name: child\nextends: base\nzram: {comp_algorithm: ~}\n")
    assert load("child").zram.comp_algorithm is None


def test_another_kind_does_not_inherit_what_was_said_about_the_first(folder: Path) -> None:
    write(folder, "base", "name: base\nbacking: {path: /data/mine, direct_io: false, block_size: 512}\n")
    write(folder, "loop", "name: loop\nextends: base\nbacking: {kind: loop}\n")
    raw = "{kind: partition, path: /dev/block/sda9, erase: true}"
    write(folder, "raw", f"name: raw\nextends: base\nbacking: {raw}\nconnection: {{virtual: {{}}}}\n")
    write(folder, "file", "name: file\nextends: raw\nbacking: {kind: loop}\nconnection: {adb: {serial: s}}\n")
    assert load("loop").backing.path == "/data/mine"
    assert load("raw").backing.path == "/dev/block/sda9"
    assert load("file").backing == Profile(name="x").backing
    assert load("file").connection.virtual is None


def test_nor_do_the_parents_plans_change_a_section_of_another_kind(folder: Path) -> None:
    plans = (
        "plans: {quick: {apps: {rounds: 1, anonymous: 3MiB}, faults: {samples: 1000}}, nightly: {apps: {rounds: 9}}}"
    )
    write(folder, "base", f"name: base\n{plans}\n")
    write(folder, "real", "name: real\nextends: base\napps: {kind: packages, packages: [com.example.mail]}\n")
    quick = load("real").for_plan(Plan.quick)
    assert (quick.apps, quick.faults.samples) == (load("real").apps, 1000)
    assert load("real").for_plan(Plan.nightly).apps.rounds == Profile(name="x").apps.rounds
    # The virtual phone's plans are about synthetic apps.
    write(folder, "mine", "name: mine\nextends: virtual\napps: {kind: packages, packages: auto}\n")
    assert load("mine").for_plan(Plan.quick).apps.packages == "auto"


def test_a_plan_changes_what_it_names_and_nothing_else() -> None:
    generic = load("generic")
    quick = generic.for_plan(Plan.quick)
    assert quick.sweep.data == "auto"
    assert quick.sweep.warmups == generic.sweep.warmups
    assert quick.apps.anonymous == generic.apps.anonymous
    assert quick.limits == generic.limits
    assert generic.for_plan("standard").sweep == generic.sweep


def test_a_plan_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ProfileError, match="profile bare has no plan nightly"):
        Profile(name="bare").for_plan("nightly")
    with pytest.raises(ProfileError, match="'fast' is not a plan; expected one of quick, standard, nightly"):
        load("generic").for_plan("fast")


def test_options_override_the_profile() -> None:
    profile = load("virtual").with_overrides(batch_sizes=[32, 1], repeats=2, machine={"kernel": "6.12"})
    assert (profile.sweep.batch_sizes, profile.sweep.repeats) == ((1, 32), 2)
    assert profile.connection.virtual == VirtualConnection(kernel="6.12")
    assert profile.sweep.data == load("virtual").sweep.data
    assert load("virtual").with_overrides() == load("virtual")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch_sizes": [1, 5000]}, "--batch-sizes: 5000 is too large; expected at most 4096"),
        ({"batch_sizes": [0]}, "--batch-sizes: 0 is too small; expected at least 1"),
        ({"batch_sizes": [8, 8]}, "--batch-sizes: expected rising values without repeats"),
        ({"batch_sizes": []}, "--batch-sizes: the list is empty; expected at least one value"),
        ({"repeats": 0}, "--repeats: 0 is too small; expected at least 1"),
        ({"machine": {"kernel": "5.15"}}, "--kernel: '5.15' is not one of 7.3, 6.12, 6.18, 6.1, 5.10"),
        (
            {"machine": {"kernel": "5.10", "arch": "x86_64", "page_size": "16k"}},
            "no virtual phone is x86_64 with pages of 16 KiB and kernel 5.10. "
            "There are x86_64 4k: 7.3, 6.12, 6.18, 6.1, 5.10.",
        ),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], says: str) -> None:
    with pytest.raises(ProfileError) as refused:
        load("virtual").with_overrides(**options)  # type: ignore[arg-type]
    assert str(refused.value) == says
    assert refused.value.exit_status == EXIT_USAGE


def test_a_real_phone_has_the_kernel_that_it_has() -> None:
    with pytest.raises(ProfileError, match="--kernel: profile generic is not a virtual phone's"):
        load("generic").with_overrides(machine={"kernel": "7.3"})


def test_the_fingerprint_tells_what_is_said_and_not_where(tmp_path: Path) -> None:
    copy = write(tmp_path, "copy", "name: generic\nextends: generic\nsweep: {repeats: 8}\n")
    other = write(tmp_path, "other", "name: generic\nextends: generic\nsweep: {repeats: 9}\n")
    generic = load("generic")
    assert load(copy).sha256 == generic.sha256
    assert load(other).sha256 != generic.sha256
    assert generic.for_plan("quick").sha256 != generic.sha256


def test_the_resolved_profile_tells_where_each_value_was_written(folder: Path) -> None:
    child = write(folder, "child", "name: child\nextends: pixel-8\nsweep:\n  repeats: 3\n")
    found = resolved("child")
    files = [child, *(SHIPPED / f"{name}.yaml" for name in ("pixel-8", "android-gki", "generic"))]
    assert list(found.files) == files
    assert (found.origins["sweep.repeats"].file, found.origins["sweep.repeats"].line) == (child, 4)
    assert found.origins["sweep.batch_sizes"].file == SHIPPED / "generic.yaml"
    assert found.origins["must_have"].file == SHIPPED / "android-gki.yaml"
    assert "backing.erase" not in found.origins


@pytest.mark.parametrize(
    ("phone", "name"),
    [
        ({"model": "Pixel 8", "device": "shiba", "manufacturer": "Google"}, "pixel-8"),
        ({"model": "AOSP on Oriole", "device": "oriole", "manufacturer": "Android"}, "pixel-6"),
        ({"model": "SM-S911B", "device": "dm1q", "manufacturer": "samsung"}, "galaxy-s23"),
        ({"model": "sm-s911u1"}, "galaxy-s23"),
        ({"model": "Pixel 5", "device": "redfin", "manufacturer": "Google"}, "generic"),
        ({}, "generic"),
    ],
)
def test_the_profile_is_picked_by_what_the_phone_says(phone: dict[str, str], name: str) -> None:
    assert match_profile(**phone).name == name


def test_more_fitting_keys_win_and_then_one_s_own_folder(folder: Path) -> None:
    write(folder, "any-google", "name: any-google\nmatch: {manufacturer: google}\n")
    write(folder, "my-pixel-8", "name: my-pixel-8\nmatch: {device: shiba}\n")
    write(folder, "blue-pixel-6", "name: blue-pixel-6\nmatch: {device: oriole, model: Pixel 6}\n")
    assert match_profile(device="shiba").name == "my-pixel-8"
    assert match_profile(device="oriole", model="Pixel 6", manufacturer="Google").name == "blue-pixel-6"
    assert match_profile(device="oriole", model="Pixel 6 Pro").name == "pixel-6"
    assert match_profile(device="redfin", manufacturer="Google").name == "any-google"


def test_two_that_fit_equally_are_both_named(folder: Path) -> None:
    for name in ("left", "right"):
        write(folder, name, f"name: {name}\nmatch: {{device: twin}}\n")
    with pytest.raises(ProfileError, match=r"profiles left and right fit the phone \(device 'twin'\) equally well"):
        match_profile(device="twin")


def test_planned_writes_count_every_point_and_warm_up() -> None:
    sweep = Sweep(batch_sizes=(1, 32), data=(MIB, 4 * MIB), pages=(PageKind.mixed,), repeats=5, warmups=1)
    once = sweep.model_copy(update={"data": (MIB,)})
    # Parts of the data, a quarter and a sixteenth, at both batch sizes.
    more = Profile(name="x", sweep=sweep).planned_writes - Profile(name="x", sweep=once).planned_writes
    assert more == 2 * 4 * MIB * 1 * 2 * 6 * (1 + 1 / 4 + 1 / 16) + Backing().size


def test_planned_writes_are_those_of_the_tests_that_are_made() -> None:
    profile = load("virtual")
    alone = {test: profile.writes_of([test]) for test in SuiteName}
    assert 0 < alone[SuiteName.inflight_depth] < alone[SuiteName.writeback_throughput] < profile.planned_writes
    assert alone[SuiteName.data_integrity] == 0
    assert profile.for_plan("quick").planned_writes < profile.for_plan("quick").writes_of(list(SuiteName))


@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_every_shipped_plan_stays_within_what_its_profile_may_write(name: str) -> None:
    profile = load(name)
    for plan in ("quick", "standard", "nightly"):
        planned = profile.for_plan(plan).planned_writes
        assert 0 < planned <= profile.limits.written_per_run, (plan, planned)


def test_validate_prints_ok_for_every_shipped_profile(capsys: pytest.CaptureFixture[str]) -> None:
    assert validate([]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [f"{name}: ok" for name in SHIPPED_NAMES]
    assert printed.err == ""


def test_validate_checks_all_files_and_fails_if_one_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "bad", "name: bad\nzram: {disksize: 17KiB}\n")
    write(tmp_path, "worse", "nam: worse\n")
    assert validate(["bad.yaml", "virtual", "./worse.yaml"]) == EXIT_USAGE
    printed = capsys.readouterr()
    assert printed.out == "virtual: ok\n"
    assert printed.err.splitlines()[:3] == [
        "bad.yaml:2: zram.disksize: 17KiB is out of range; expected 16MiB to 256GiB",
        "worse.yaml:1: name: missing; it has no default",
        "worse.yaml:1: nam: unknown key; did you mean name?",
    ]


def test_validate_refuses_an_unknown_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        validate(["--nonsense"])
    assert ended.value.code == EXIT_USAGE
    assert "--nonsense" in capsys.readouterr().err
