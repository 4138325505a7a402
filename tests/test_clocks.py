"""Two clocks are told apart when they are, left alone when nothing can be said, and never when they agree."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from base.deadline import Deadline
from base.errors import CommandFailed
from devices.clocks import ClockReading, ClockWatch, ClockWrong, clock_rate, read_clock
from devices.device import Device, open_device
from devices.fake.phone import FakePhone
from devices.transport import CommandResult, Op


def reading(host_s: float, phone_s: float, *, trip_s: float = 0.02) -> ClockReading:
    return ClockReading(host_s, host_s + trip_s, phone_s)


@pytest.mark.parametrize("speed", [1.006, 0.994, 9.0, 0.1])
def test_a_clock_that_is_off_by_more_than_half_a_percent_is_seen_over_a_minute(speed: float) -> None:
    rate = clock_rate(reading(100.0, 5.0), reading(160.0, 5.0 + 60 * speed))
    assert rate.is_off()
    assert rate.low <= speed <= rate.high


@pytest.mark.parametrize("speed", [1.0, 1.004, 0.996])
def test_one_that_is_within_half_a_percent_is_left_alone(speed: float) -> None:
    rate = clock_rate(reading(100.0, 5.0), reading(160.0, 5.0 + 60 * speed))
    assert not rate.is_off()
    assert rate.decides()


def test_a_short_span_decides_nothing_but_what_is_gross() -> None:
    first = reading(100.0, 5.0)
    assert not clock_rate(first, reading(101.0, 6.03)).decides()
    assert not clock_rate(first, reading(101.0, 6.03)).is_off()
    assert clock_rate(first, reading(101.0, 14.0)).is_off()


def test_an_answer_that_was_long_under_way_makes_the_bounds_wider_not_the_clock_wrong() -> None:
    rate = clock_rate(reading(100.0, 5.0), reading(130.0, 36.0, trip_s=2.0))
    assert (rate.is_off(), rate.decides()) == (False, False)
    assert rate.low < 1 < rate.high


def test_readings_that_overlap_say_nothing() -> None:
    rate = clock_rate(reading(100.0, 5.0), reading(100.0, 5.0))
    assert (rate.is_off(), rate.decides(), rate.high) == (False, False, float("inf"))


def test_a_clock_that_went_back_is_off() -> None:
    assert clock_rate(reading(100.0, 500.0), reading(160.0, 3.0)).is_off()


class Clocked(FakePhone):
    """A fake phone whose uptime runs ``speed`` times as fast as this computer's clock."""

    speed = 1.0

    def execute(self, ops: Sequence[Op], *, deadline: Deadline, keep_going: bool = False) -> list[CommandResult]:
        now = time.clock_gettime(time.CLOCK_BOOTTIME) * self.speed
        self.files["/proc/uptime"] = f"{now:.2f} 1.00\n"
        return super().execute(ops, deadline=deadline, keep_going=keep_going)


@pytest.fixture
def phone() -> Clocked:
    return Clocked()


@pytest.fixture
def device(phone: Clocked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path))
    with open_device(phone, probe_builder=lambda arch: tmp_path) as device:
        yield device


def begun(device: Device, *, virtual: bool, said: list[str] | None = None) -> ClockWatch:
    watch = ClockWatch(device, virtual=virtual, say=(said if said is not None else []).append)
    watch.begin()
    time.sleep(0.3)  # sleep: the span that the clocks are compared over
    return watch


def test_a_virtual_phone_with_a_fast_clock_is_an_error_with_the_figure(phone: Clocked, device: Device) -> None:
    phone.speed = 9.0
    with pytest.raises(ClockWrong, match=r"FAKE01: the phone's clock runs [89]\.\d+ times as fast") as caught:
        begun(device, virtual=True).check()
    assert caught.value.hint


def test_a_real_phone_with_a_fast_clock_is_a_doubt_with_the_figure_said_once(phone: Clocked, device: Device) -> None:
    said: list[str] = []
    phone.speed = 9.0
    watch = begun(device, virtual=False, said=said)
    assert watch.check()
    assert watch.check()
    assert len(said) == 1
    assert "times as fast as this computer's" in said[0]
    facts = watch.facts()["phone_clock"]
    assert isinstance(facts, dict)
    assert facts["low"] <= 9 <= facts["high"]


def test_a_clock_that_changes_its_mind_is_seen_by_the_next_check(phone: Clocked, device: Device) -> None:
    watch = begun(device, virtual=False)
    assert not watch.check()
    phone.speed = 1.1  # what it says jumps as well: a tenth of its uptime
    assert watch.check()


def test_records_that_follow_each_other_share_a_check(phone: Clocked, device: Device) -> None:
    watch = begun(device, virtual=False)
    assert not watch.check()
    trips = phone.wire.trips, len(phone.log)
    phone.speed = 1.1
    assert not watch.check(known_for_s=60)
    assert (phone.wire.trips, len(phone.log)) == trips
    assert watch.check()


def test_a_sound_clock_is_no_doubt_and_its_bounds_are_recorded(device: Device) -> None:
    watch = begun(device, virtual=True)
    assert watch.facts() == {}
    assert not watch.check()
    facts = watch.facts()["phone_clock"]
    assert isinstance(facts, dict)
    assert facts["low"] <= 1 <= facts["high"]
    assert 0.2 < facts["span_s"] < 5


def test_what_is_no_uptime_is_the_phones_fault(phone: Clocked, device: Device) -> None:
    phone.speed = float("nan")
    with pytest.raises(CommandFailed, match="not an uptime"):
        read_clock(device)
