"""Sides of a comparison: what is a side, what a phone lacks, and that what one sets is put back before the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from base.errors import EnvironmentRefused, ProfileError
from devices.capability import Capability
from devices.profiles.what_is_measured import Alternated
from devices.zram import selected
from tests.fake_bench import SCRATCH, Fake, fake_bench, small_profile
from workloads.sides import PhoneSide, fitting_room, parse_sides

QUEUE = "/sys/block/loop0/queue/read_ahead_kb"
SCHEDULER = "/sys/block/loop0/queue/scheduler"


@pytest.fixture
def fake(memory_path: Path) -> Iterator[Fake]:
    profile = small_profile(ab=Alternated(attributes=("queue.read_ahead_kb", "queue.scheduler", "queue.gone")))
    with fake_bench(memory_path, profile=profile) as found:
        found.phone.files |= {QUEUE: "128\n", SCHEDULER: "[none] kyber\n"}
        yield found
        assert (found.phone.files.pop(QUEUE), found.phone.files.pop(SCHEDULER)) == ("128\n", "[none] kyber\n")


def test_a_side_is_its_settings() -> None:
    base, cand = parse_sides("default", "comp_algorithm=zstd,batch_size=64", ["compressed_writeback=on"])
    assert (base.words, cand.words) == (
        "compressed_writeback=on", "comp_algorithm=zstd compressed_writeback=on batch_size=64"
    )  # fmt: skip
    assert [setting.value for setting in cand.settings] == ["zstd", True, 64]
    assert str(base) == "BASE (compressed_writeback=on)"
    assert parse_sides("", "default")[1].words == "default"


def test_sides_that_hold_the_same_are_still_two() -> None:
    base, cand = parse_sides("batch_size=32", "batch_size=32")
    assert base != cand


def test_all_that_is_wrong_with_both_sides_is_told_at_once() -> None:
    with pytest.raises(ProfileError) as told:
        parse_sides("batch_size=0 kernel=6.12 batchsize=3", "compressed_writeback=maybe backing=floppy x")
    lines = str(told.value).splitlines()
    assert len(lines) == 6
    assert lines[0].startswith("BASE: batch_size: '0' is no batch size")
    assert "reboot" in lines[1]
    assert "did you mean batch_size" in lines[2]
    assert lines[3].startswith("CAND: compressed_writeback: 'maybe'")
    assert "f2fs-file-buffered" in lines[4]
    assert "key=value" in lines[5]
    assert "queue.NAME" in told.value.hint


@pytest.mark.parametrize("text", ["batch_size=1 batch_size=2", "queue.scheduler=a;reboot", "batch_size=4097"])
def test_what_is_given_twice_or_could_do_harm_is_refused(text: str) -> None:
    with pytest.raises(ProfileError):
        parse_sides(text, "default")


def test_a_stage_is_as_the_side_that_is_worn(fake: Fake) -> None:
    stage = fake.bench.stage
    base, cand = parse_sides("batch_size=8", "batch_size=64,comp_algorithm=zstd,compressed_writeback=yes")
    with fitting_room(stage, (base, cand)) as room:
        mine = room.wear(base)
        mine.as_block_device(16)
        assert (fake.zram.setting("writeback_batch_size"), room.generation) == ("8", 1)
        other = room.wear(cand)
        other.as_block_device(16)
        assert fake.zram.setting("writeback_batch_size") == "64"
        assert selected(stage.zram.read("comp_algorithm")) == "zstd"
        assert room.generation == 2
        assert room.wear(cand) is other
    stage.as_block_device(16)
    assert fake.zram.setting("writeback_batch_size") == "32"


def test_sides_that_leave_zram_as_it_is_cost_no_new_one(fake: Fake) -> None:
    sides = parse_sides("batch_size=8", "queue.scheduler=kyber", ["comp_algorithm=lz4"])
    with fitting_room(fake.bench.stage, sides) as room:
        for side in (*sides, *reversed(sides)):
            room.wear(side)
        assert room.generation == 1


def test_an_attribute_is_put_back_before_the_other_side(fake: Fake) -> None:
    base, cand = parse_sides("default", "queue.read_ahead_kb=64 ")
    with fitting_room(fake.bench.stage, (base, cand)) as room:
        room.wear(cand)
        assert fake.phone.files[QUEUE].strip() == "64"
        assert any("read_ahead_kb" in entry.undo.what for entry in fake.device.journal.entries)
        room.wear(base)
        assert fake.phone.files[QUEUE].strip() == "128"
        room.wear(cand)


def test_another_backing_device_is_there_while_it_is_worn(fake: Fake) -> None:
    stage, phone = fake.bench.stage, fake.phone
    base, cand = parse_sides("default", "backing=ext4-file")
    with fitting_room(stage, (base, cand)) as room:
        mine = room.wear(cand)
        mine.as_block_device(16)
        assert mine.backing.file == SCRATCH
        assert SCRATCH in phone.loops.values()
        room.wear(base).as_block_device(16)
        assert SCRATCH not in phone.loops.values()


def test_a_backing_device_of_both_sides_is_another_each_time(fake: Fake) -> None:
    """What is prepared in zram for a side is gone when it comes again."""
    sides = parse_sides("batch_size=8", "batch_size=32", ["backing=ext4-file"])
    with fitting_room(fake.bench.stage, sides) as room:
        for side in (*sides, *reversed(sides)):
            room.wear(side).as_block_device(16)
        assert room.generation == 3


def test_all_that_a_phone_lacks_is_told_before_anything_is_set(fake: Fake) -> None:
    sides = parse_sides("comp_algorithm=lzma,queue.gone=1", "queue.nr_requests=8")
    before = fake.phone.state()
    with pytest.raises(EnvironmentRefused) as told, fitting_room(fake.bench.stage, sides):
        pytest.fail("it let somebody in")
    assert fake.phone.state() == before
    for name in ("comp_algorithm=lzma: this kernel offers", "queue.gone=1", "ab.attributes"):
        assert name in str(told.value)


def test_a_kernel_without_batches_is_told(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        fake.device.capabilities -= {Capability.writeback_batch_size}
        room = fitting_room(fake.bench.stage, (PhoneSide("base"), parse_sides("", "batch_size=2")[1]))
        with pytest.raises(EnvironmentRefused, match="no writeback_batch_size"), room:
            pytest.fail("it let somebody in")
