"""Profiles with wrong keys or values: what is said, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from base.errors import EXIT_USAGE, ProfileError
from devices.profiles.reading import known, load, match_profile

KNOWN = "known profiles: android-gki, galaxy-s23, generic, pixel-6, pixel-8, redmi-k70, virtual"
TOP_KEYS = (
    "name, extends, tried, match, connection, root, selinux, write_booster, must_have, precision, budget, tests, "
    "own_pages, zram, backing, sweep, inflight, faults, variants, compressors, apps, ab, limits, deadlines, plans"
)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages show paths relative to the working directory."""
    monkeypatch.delenv("ZRAM_LAB_PROFILES", raising=False)
    monkeypatch.chdir(tmp_path)


def errors_of(reference: str) -> list[str]:
    with pytest.raises(ProfileError) as refused:
        load(reference)
    assert refused.value.exit_status == EXIT_USAGE
    return str(refused.value).splitlines()


def errors_in(text: str | bytes) -> list[str]:
    data = text.encode() if isinstance(text, str) else text
    Path("p.yaml").write_bytes(data)
    return errors_of("p.yaml")


ONE_MESSAGE = {
    "a trace that no pattern reads": (
        "name: x\napps: {trace: days.txt}\n",
        "p.yaml:2: apps.trace: pattern: trace and a file in trace go together",
    ),
    "own pages that nobody named": (
        "name: x\nsweep: {pages: [mixed, own]}\n",
        "p.yaml:2: sweep.pages: pages: own needs own_pages, which says what they are",
    ),
    "own pages that do not add up": (
        "name: x\nown_pages: s11.1,h88.8\n",
        "p.yaml:2: own_pages: 's11.1,h88.8' is not a mix that adds up to 100, for example s11.1,i8.3,h60,c20.6@20",
    ),
    "own pages of a ratio that nothing has": (
        "name: x\nown_pages: c100@21\n",
        "p.yaml:2: own_pages: 'c100@21' is not a mix that adds up to 100, for example s11.1,i8.3,h60,c20.6@20",
    ),
    "a pattern without its trace": (
        "name: x\napps: {pattern: trace}\n",
        "p.yaml:2: apps.pattern: pattern: trace and a file in trace go together",
    ),
    "a partition to compare with that may not be erased": (
        "name: x\nvariants: {partition: /dev/block/sdb}\n",
        "p.yaml:2: variants.partition: partition overwrites /dev/block/sdb; "
        "say erase: true if what is on it may be lost",
    ),
    "unknown key, near a known one": (
        "name: x\nsweep:\n  batch_size: [1]\n",
        "p.yaml:3: sweep.batch_size: unknown key; did you mean batch_sizes?",
    ),
    "unknown key of another section": (
        "name: x\nbatch_sizes: [1]\n",
        "p.yaml:2: batch_sizes: unknown key here; did you mean sweep.batch_sizes or inflight.batch_sizes or "
        "faults.batch_sizes or apps.batch_sizes?",
    ),
    "unknown key": ("name: x\nflavour: mint\n", f"p.yaml:2: flavour: unknown key; known keys: {TOP_KEYS}"),
    "unknown key, deep": (
        "name: x\nconnection: {adb: {colour: red}}\n",
        "p.yaml:2: connection.adb.colour: unknown key; known keys: serial, server",
    ),
    "unknown key, unprintable": (
        'name: x\n"q\\nz\\e": 1\n',
        f"p.yaml:2: 'q\\nz\\x1b': unknown key; known keys: {TOP_KEYS}",
    ),
    "unknown plan": ("name: x\nplans: {quik: {}}\n", "p.yaml:2: plans.quik: unknown key; did you mean quick?"),
    "text for a list": (
        "name: x\nsweep: {pages: mixed}\n",
        "p.yaml:2: sweep.pages: 'mixed' is not a list; write [mixed]",
    ),
    "a list for a number": (
        "name: x\nsweep: {repeats: [1]}\n",
        "p.yaml:2: sweep.repeats: a list is not a whole number",
    ),
    "text for a number": ("name: x\nsweep: {repeats: few}\n", "p.yaml:2: sweep.repeats: 'few' is not a whole number"),
    "a fraction for a whole number": (
        "name: x\nsweep: {repeats: 2.5}\n",
        "p.yaml:2: sweep.repeats: '2.5' is not a whole number",
    ),
    "text for a mapping": (
        "name: x\nfaults: 500\n",
        "p.yaml:2: faults: '500' is not a mapping; expected its keys: samples, batch_sizes, loads",
    ),
    "a mapping for text": (
        "name: x\nextends: {a: b}\n",
        "p.yaml:2: extends: a mapping; expected a profile's name or path",
    ),
    "nothing for a mapping": (
        "name: x\nfaults:\n  # samples: 5\n",
        "p.yaml:2: faults: nothing is written here; expected its keys: samples, batch_sizes, loads",
    ),
    "no boolean": ("name: x\ntried: maybe\n", "p.yaml:2: tried: 'maybe' is not true or false"),
    "no number": ("name: x\nlimits: {temperature: warm}\n", "p.yaml:2: limits.temperature: 'warm' is not a number"),
    "not a number": ("name: x\nlimits: {temperature: nan}\n", "p.yaml:2: limits.temperature: 'nan' is not a number"),
    "wall of digits": (
        f"name: x\nfaults: {{samples: {'9' * 5000}}}\n",
        f"p.yaml:2: faults.samples: '{'9' * 55}...' is not a whole number",
    ),
    "unknown word": ("name: x\nroot: sudo\n", "p.yaml:2: root: 'sudo' is not one of auto, adbd, su-c, su-0"),
    "unknown word, near a known one": (
        "name: x\nzram: {device: hotadd}\n",
        "p.yaml:2: zram.device: 'hotadd' is not one of takeover, hot_add; did you mean hot_add?",
    ),
    "unknown word in a list": (
        "name: x\nsweep:\n  order:\n    - sparse\n    - backwards\n",
        "p.yaml:5: sweep.order[1]: 'backwards' is not one of sparse, sequential, scattered",
    ),
    "word of before": (
        "name: x\nsweep: {order: [random]}\n",
        "p.yaml:2: sweep.order[0]: 'random' is not one of sparse, sequential, scattered; "
        "what was called random is sparse",
    ),
    "wrong unit of a size": (
        "name: x\nbacking: {size: 2GHz}\n",
        "p.yaml:2: backing.size: '2GHz' is not a size (unknown unit GHz); expected for example 64MiB or 2GiB",
    ),
    "wrong unit of a duration": (
        "name: x\nlimits: {cooldown: 10 parsecs}\n",
        "p.yaml:2: limits.cooldown: '10 parsecs' is not a duration (unknown unit parsecs); "
        "expected for example 500ms, 30s, 10min or 2h",
    ),
    "sexagesimal": (
        "name: x\ndeadlines: {command: 10:30}\n",
        "p.yaml:2: deadlines.command: '10:30' is not a duration; expected for example 500ms, 30s, 10min or 2h",
    ),
    "batch size too large": (
        "name: x\nsweep: {batch_sizes: [1, 4097]}\n",
        "p.yaml:2: sweep.batch_sizes[1]: 4097 is too large; expected at most 4096",
    ),
    "batch size zero": (
        "name: x\nsweep: {batch_sizes: [0]}\n",
        "p.yaml:2: sweep.batch_sizes[0]: 0 is too small; expected at least 1",
    ),
    "batch sizes falling": (
        "name: x\nsweep: {batch_sizes: [8, 1]}\n",
        "p.yaml:2: sweep.batch_sizes: expected rising values without repeats",
    ),
    "no batch size": (
        "name: x\nsweep: {batch_sizes: []}\n",
        "p.yaml:2: sweep.batch_sizes: the list is empty; expected at least one value",
    ),
    "twice in a list": ("name: x\nsweep: {pages: [mixed, mixed]}\n", "p.yaml:2: sweep.pages: mixed is given twice"),
    "block size": (
        "name: x\nbacking: {block_size: 1000}\n",
        "p.yaml:2: backing.block_size: 1000 is not a power of two; expected 512, 1024, 2048, 4096 ... 65536",
    ),
    "too hot": (
        "name: x\nlimits: {temperature: 90}\n",
        "p.yaml:2: limits.temperature: 90 is too large; expected at most 60",
    ),
    "battery": (
        "name: x\nlimits: {battery: 101}\n",
        "p.yaml:2: limits.battery: 101 is too large; expected at most 100",
    ),
    "disk size not whole pages": (
        "name: x\nzram: {disksize: 2147483649}\n",
        "p.yaml:2: zram.disksize: 2147483649B is not a multiple of 16KiB",
    ),
    "relative path": (
        "name: x\nbacking: {path: data/x}\n",
        "p.yaml:2: backing.path: 'data/x' is not a plain absolute path, for example /data/per_boot/zram_writeback",
    ),
    "path with a way up": (
        "name: x\nbacking: {path: /data/../dev/block/sda}\n",
        "p.yaml:2: backing.path: '/data/../dev/block/sda' is not a plain absolute path, "
        "for example /data/per_boot/zram_writeback",
    ),
    "path for a shell": (
        "name: x\nbacking: {path: /data/$(reboot)}\n",
        "p.yaml:2: backing.path: '/data/$(reboot)' is not a plain absolute path, "
        "for example /data/per_boot/zram_writeback",
    ),
    "adb server": (
        "name: x\nconnection: {adb: {server: labhost}}\n",
        "p.yaml:2: connection.adb.server: 'labhost' is not an adb server; expected HOST:PORT, "
        "for example 127.0.0.1:5037",
    ),
    "two connections": (
        "name: x\nconnection: {adb: {}, virtual: {}}\n",
        "p.yaml:2: connection: expected exactly one of adb, virtual",
    ),
    "package name": (
        "name: x\napps: {kind: packages, packages: [maps]}\n",
        "p.yaml:2: apps.packages[0]: 'maps' cannot stand here; expected a package's name, "
        "for example com.android.settings",
    ),
    "packages": (
        "name: x\napps: {kind: packages, packages: all}\n",
        "p.yaml:2: apps.packages: 'all' is not one of auto",
    ),
    "match nothing": ("name: x\nmatch: {}\n", "p.yaml:2: match: expected at least one of model, device, manufacturer"),
    "no name": ("sweep: {repeats: 5}\n", "p.yaml:1: name: missing; it has no default"),
    "name for a file": (
        "name: ../x\n",
        "p.yaml:1: name: '../x' cannot stand here; expected small letters, digits and . _ -",
    ),
    "missing parent, near a known one": (
        "name: x\nextends: pixle-8\n",
        f"p.yaml:2: extends: no profile 'pixle-8'; did you mean pixel-8? {KNOWN}",
    ),
    "missing parent": ("name: x\nextends: nokia-3310\n", f"p.yaml:2: extends: no profile 'nokia-3310'; {KNOWN}"),
    "missing parent file": ("name: x\nextends: ./q.yaml\n", "p.yaml:2: extends: q.yaml: no such file"),
    "parent is a directory": (
        "name: x\nextends: ./\n",
        "p.yaml:2: extends: .: a directory; expected a profile's YAML file",
    ),
    "extends itself": ("name: x\nextends: p\n", "p.yaml:2: extends: circular: p -> p"),
    "duplicate key": ("name: x\nsweep: {}\nroot: auto\nsweep: {}\n", "p.yaml:4: sweep: given twice; first on line 2"),
    "duplicate key, deep": (
        "name: x\nsweep:\n  repeats: 3\n  repeats: 4\n",
        "p.yaml:4: sweep.repeats: given twice; first on line 3",
    ),
    "working set": (
        "name: x\napps: {anonymous: 10MiB, working_set: 20MiB}\n",
        "p.yaml:2: apps.working_set: an app touches more than it holds: working_set 20MiB, anonymous 10MiB",
    ),
    "keys of another kind": (
        "name: x\napps: {kind: packages, anonymous: 10MiB}\n",
        "p.yaml:2: apps.anonymous: anonymous does not go with kind: packages",
    ),
    "partition by guess": (
        "name: x\nbacking:\n  kind: partition\n  erase: true\n",
        "p.yaml:3: backing.kind: kind: partition needs a path below /dev/block/, which is never guessed",
    ),
    "partition by accident": (
        "name: x\nbacking:\n  kind: partition\n  path: /dev/block/sda9\n",
        "p.yaml:3: backing.kind: kind: partition overwrites /dev/block/sda9; "
        "say erase: true if what is on it may be lost",
    ),
    "partition by half": (
        "name: x\nbacking:\n  kind: partition\n  path: /dev/block/sda9\n  erase: false\n",
        "p.yaml:5: backing.erase: kind: partition overwrites /dev/block/sda9; "
        "say erase: true if what is on it may be lost",
    ),
    "a device as a file": (
        "name: x\nbacking:\n  path: /dev/block/sda9\n",
        "p.yaml:3: backing.path: /dev/block/sda9 cannot be a file of our own; expected one below /data",
    ),
    "data too large for the backing file": (
        "name: x\nbacking: {size: 256MiB}\nfaults: {samples: 1000}\nsweep:\n  data:\n  - 64MiB\n  - 129MiB\n",
        "p.yaml:7: sweep.data[1]: sweep.data 129MiB needs twice its size: backing.size of at least 258MiB, not 256MiB",
    ),
    "disk too small for default data": (
        "name: x\nzram: {disksize: 100MiB}\nfaults: {samples: 1000}\n",
        "p.yaml:2: zram.disksize: sweep.data 64MiB needs twice its size: zram.disksize of at least 128MiB, not 100MiB",
    ),
    "too many faults": (
        "name: x\nfaults: {samples: 200000}\nbacking: {size: 2GiB}\nzram: {disksize: 1GiB}\n",
        "p.yaml:2: faults.samples: faults.samples 200000 needs twice its size: "
        "zram.disksize of at least 1563MiB, not 1GiB",
    ),
    "a plan that does not fit": (
        "name: x\nplans:\n  nightly:\n    sweep:\n      data: [768MiB]\n",
        "p.yaml:5: plans.nightly.sweep.data[0]: in plan nightly: sweep.data 768MiB needs twice its size: "
        "backing.size of at least 1536MiB, not 1GiB",
    ),
}


@pytest.mark.parametrize(("text", "message"), ONE_MESSAGE.values(), ids=ONE_MESSAGE)
def test_each_error_is_one_message_with_its_place(text: str | bytes, message: str) -> None:
    assert errors_in(text) == [message]


def test_all_errors_of_a_file_come_at_once() -> None:
    text = """\
name: x
extends: generic
colour: red
zram:
  disksize: 64MiB
  disksize: 4GiB
sweep: {repeats: 0, data: [8MiB]}
backing: {kind: partition}
limits: {cooldown: soon}
plans: {quick: {sweep: {data: [40MiB, huge]}}}
"""
    assert errors_in(text) == [
        f"p.yaml:3: colour: unknown key; known keys: {TOP_KEYS}",
        "p.yaml:5: zram.disksize: in plan nightly: sweep.data 128MiB needs twice its size: "
        "zram.disksize of at least 256MiB, not 64MiB",
        "p.yaml:6: zram.disksize: given twice; first on line 5",
        "p.yaml:7: sweep.repeats: 0 is too small; expected at least 1",
        "p.yaml:8: backing.kind: kind: partition needs a path below /dev/block/, which is never guessed",
        "p.yaml:8: backing.kind: kind: partition overwrites the partition; "
        "say erase: true if what is on it may be lost",
        "p.yaml:9: limits.cooldown: 'soon' is not a duration; expected for example 500ms, 30s, 10min or 2h",
        "p.yaml:10: plans.quick.sweep.data[1]: 'huge' is not a size; expected for example 64MiB or 2GiB",
    ]


def test_a_wrong_value_is_not_blamed_for_what_its_default_would_do() -> None:
    text = "name: x\nzram: {disksize: 100MiB}\nfaults: {samples: 1000}\nsweep: {data: [huge]}\n"
    assert errors_in(text) == [
        "p.yaml:4: sweep.data[0]: 'huge' is not a size; expected for example 64MiB or 2GiB",
    ]


def test_an_error_is_named_where_the_value_was_written() -> None:
    Path("base.yaml").write_text("name: base\nzram: {disksize: 2GHz}\nflavour: mint\n", encoding="utf-8")
    assert errors_in("name: x\nextends: base.yaml\nsweep: {repeats: -1}\n") == [
        "base.yaml:2: zram.disksize: '2GHz' is not a size (unknown unit GHz); expected for example 64MiB or 2GiB",
        f"base.yaml:3: flavour: unknown key; known keys: {TOP_KEYS}",
        "p.yaml:3: sweep.repeats: -1 is too small; expected at least 1",
    ]


def test_values_that_conflict_are_named_at_the_child_s() -> None:
    Path("base.yaml").write_text("name: base\nsweep: {data: [256MiB]}\n", encoding="utf-8")
    assert errors_in("name: x\nextends: base.yaml\nbacking: {size: 128MiB}\n") == [
        "p.yaml:3: backing.size: sweep.data 256MiB needs twice its size: backing.size of at least 512MiB, not 128MiB"
    ]


def test_a_parent_that_cannot_be_read_does_not_hide_the_child_s_errors() -> None:
    Path("base.yaml").write_text("name: [\n", encoding="utf-8")
    first, second = errors_in("name: x\nextends: base.yaml\nsweep: {repeats: -1}\nzram: {disksize: 16MiB}\n")
    assert first.startswith("base.yaml:2: not valid YAML: ")
    assert second == "p.yaml:3: sweep.repeats: -1 is too small; expected at least 1"


def test_a_circle_of_parents_is_shown() -> None:
    for name, parent in (("a", "b"), ("b", "c"), ("c", "b")):
        Path(f"{name}.yaml").write_text(f"name: {name}\nextends: ./{parent}.yaml\n", encoding="utf-8")
    assert errors_of("a.yaml") == ["c.yaml:2: extends: circular: b -> c -> b"]


def test_a_name_that_nobody_has() -> None:
    with pytest.raises(ProfileError) as refused:
        load("pixle-8")
    assert str(refused.value) == "no profile 'pixle-8'; did you mean pixel-8?"
    assert "Known profiles: android-gki," in refused.value.hint


def test_in_a_folder_of_profiles_file_and_name_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_PROFILES", str(tmp_path))
    Path("mine.yaml").write_text("# mine\nname: yours\n", encoding="utf-8")
    assert errors_of("mine") == ["mine.yaml:2: name: 'yours' is not the file's name, 'mine'"]


def test_a_folder_of_profiles_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_PROFILES", str(tmp_path / "gone"))
    for look in (known, lambda: load("virtual"), match_profile):
        with pytest.raises(ProfileError, match=r"ZRAM_LAB_PROFILES: .*gone is not a directory"):
            look()
