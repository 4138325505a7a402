"""Temperature, charge, clocks and wear: read, waited for, refused, and told as caveats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from base.errors import EXIT_REFUSED, EnvironmentRefused
from base.units import MIB
from devices.device import Device
from devices.fake.phone import FakePhone
from devices.health import Guard, Health, parse_health, read_health, throttled, wait_until_fit
from devices.profiles.sections import Limits
from records.model import Caveat, Metric, RunResult
from tests.android_fakes import opened, phone_that_lives, sample
from workloads.bench import with_caveats

LIMITS = Limits(temperature=42, battery=30, cooldown=0.3, written_per_run=64 * MIB)
CAP = "/sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq"
DISK = "/sys/block/sda/stat"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "state"))
    monkeypatch.setattr("devices.health._PAUSE_S", 0.01)


@pytest.fixture
def phone() -> FakePhone:
    return phone_that_lives()


@pytest.fixture
def device(phone: FakePhone, tmp_path: Path) -> Iterator[Device]:
    with opened(phone, tmp_path) as device:
        yield device


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def guard(device: Device, said: list[str]) -> Guard:
    return Guard(device, LIMITS, said.append, fresh_s=0)


def heat(phone: FakePhone, celsius: float, *, cools_by: float = 0) -> None:
    phone.android.battery["temperature"] = str(int(celsius * 10))
    phone.android.cools_by = int(cools_by * 10)


def write(phone: FakePhone, size: int) -> None:
    words = phone.files[DISK].split()
    words[6] = str(int(words[6]) + size // 512)
    phone.files[DISK] = " ".join(words)


def test_what_a_phone_says_of_itself() -> None:
    health = parse_health(sample("battery"), sample("thermalservice"), sample("sysfs"))
    assert (health.battery_percent, health.battery_temp_c, health.thermal_status) == (57, 31.8, 1)
    assert health.skin_temp_c == 36.5  # the hottest that the HAL has now; neither a CPU's nor what was cached
    assert health.temperature_c == 36.5
    assert health.for_people() == "battery 57 %, 36 °C, thermal status 1, clock of policy4 capped"
    assert {name: (cpu.now_khz, cpu.cap_khz, cpu.most_khz) for name, cpu in health.cpus.items()} == {
        "policy0": (1209600, 1804800, 1804800),
        "policy4": (2035200, 2035200, 2419200),
    }


def test_zones_that_are_no_temperature_or_cannot_be_true_are_left_out() -> None:
    health = parse_health("", "", sample("sysfs"))
    assert health.hottest_zone == ("soc-thermal", 61.7)
    assert health.skin_temp_c == 33.1  # without the service a zone that is called so


def test_only_whole_disks_count_as_written() -> None:
    assert parse_health("", "", sample("sysfs")).disk_written_bytes == (2097152 + 2048) * 512


@pytest.mark.parametrize(
    ("battery", "percent", "celsius"),
    [
        ("  present: false\n  level: 0\n  temperature: 0\n", None, None),
        ("  level: 50\n  scale: 200\n  temperature: -2740\n", 25, None),
        ("  level: 150\n  scale: 100\n  temperature: 99999\n", None, None),
        ("  level: soon\n", None, None),
        ("Can't find service: battery\n", None, None),
    ],
)
def test_a_battery_that_is_not_there_or_says_nonsense(battery: str, percent: int | None, celsius: float | None) -> None:
    health = parse_health(battery, "", "")
    assert (health.battery_percent, health.battery_temp_c) == (percent, celsius)


def test_everything_is_read_in_one_round_trip(phone: FakePhone, device: Device) -> None:
    before = phone.wire.trips
    assert read_health(device).disk_written_bytes
    assert phone.wire.trips - before == 1


def test_a_phone_that_is_fit_does_not_wait(device: Device, said: list[str]) -> None:
    assert wait_until_fit(device, LIMITS, said.append).battery_percent == 100
    assert said == []


def test_a_hot_phone_is_waited_for(phone: FakePhone, device: Device, said: list[str]) -> None:
    heat(phone, 45, cools_by=0.5)
    assert wait_until_fit(device, LIMITS, said.append).temperature_c == 42
    assert said == ["FAKE01: 45.0 °C, waiting for 42 °C"]


def test_a_phone_that_stays_hot_is_refused_and_unchanged(phone: FakePhone, device: Device, said: list[str]) -> None:
    heat(phone, 55)
    before = phone.state()
    with pytest.raises(EnvironmentRefused, match=r"55\.0 °C after 0\.3 s of waiting, limits\.temperature is 42") as it:
        wait_until_fit(device, LIMITS, said.append)
    assert it.value.exit_status == EXIT_REFUSED
    assert phone.state() == before


def test_a_low_battery_is_refused_at_once(phone: FakePhone, device: Device, said: list[str]) -> None:
    phone.android.battery["level"] = "29"
    heat(phone, 55)
    with pytest.raises(EnvironmentRefused, match=r"battery at 29 %, limits\.battery is 30 %"):
        wait_until_fit(device, LIMITS, said.append)
    assert said == []


def test_what_there_is_no_sensor_for_is_said_and_not_guessed(device: Device, phone: FakePhone, said: list[str]) -> None:
    phone.android.battery = {}
    phone.android.thermal = "Can't find service: thermalservice\n"
    phone.files = {path: text for path, text in phone.files.items() if "skin" not in text and path[-5:] != "/stat"}
    health = wait_until_fit(device, LIMITS, said.append)
    assert (health.battery_percent, health.temperature_c, health.disk_written_bytes) == (None, None, None)
    assert [text.rpartition(", ")[2] for text in said] == [
        "limits.battery is not watched",
        "limits.temperature is not watched",
        "limits.written_per_run is not watched",
    ]


def test_a_clock_that_was_capped_before_is_not_throttled_now() -> None:
    before = parse_health("", "", sample("sysfs"))
    cpu = before.cpus["policy4"]
    lower = replace(before, cpus={**before.cpus, "policy4": replace(cpu, cap_khz=cpu.cap_khz - 1)})
    assert throttled(before, before) == []
    assert throttled(before, lower) == ["policy4"]
    assert throttled(lower, before) == []
    assert throttled(Health(), lower) == []


def test_a_quiet_test_has_no_caveat_and_costs_two_round_trips(phone: FakePhone, guard: Guard) -> None:
    guard.before_run()
    before = phone.wire.trips
    guard.before_test()
    assert guard.after_test() == []
    assert phone.wire.trips - before == 2


def test_short_tests_share_a_reading(phone: FakePhone, guard: Guard) -> None:
    guard.fresh_s = 60
    guard.before_run()
    before = phone.wire.trips
    for _ in range(10):
        guard.before_test()
        guard.after_test()
    assert phone.wire.trips == before


@pytest.mark.parametrize(
    ("happens", "caveat"),
    [
        (lambda phone: heat(phone, 48), "too_hot"),
        (lambda phone: phone.files.update({CAP: "1094400"}), "throttled"),
    ],
)
def test_a_test_that_began_well_and_ended_badly(
    phone: FakePhone, guard: Guard, happens: Callable[[FakePhone], None], caveat: str
) -> None:
    guard.before_run()
    guard.before_test()
    happens(phone)
    assert guard.after_test() == [caveat]


def test_a_phone_that_cools_between_tests_has_no_caveat(phone: FakePhone, guard: Guard, said: list[str]) -> None:
    guard.before_run()
    heat(phone, 44, cools_by=0.5)
    guard.before_test()
    assert guard.after_test() == []
    assert len(said) == 1


def test_a_phone_that_stays_hot_goes_on_with_a_caveat_and_is_waited_for_once(
    phone: FakePhone, guard: Guard, said: list[str]
) -> None:
    guard.before_run()
    heat(phone, 50)
    for _ in range(3):
        guard.before_test()
        assert guard.after_test() == ["too_hot"]
    assert len(said) == 1
    heat(phone, 30)
    guard.before_test()
    assert guard.after_test() == []


def test_a_clock_that_stays_capped_is_told_of_every_later_test(phone: FakePhone, guard: Guard) -> None:
    guard.before_run()
    phone.files[CAP] = "1094400"
    for _ in range(2):
        guard.before_test()
        assert guard.after_test() == ["throttled"]


def test_no_test_begins_once_the_run_has_written_its_share(phone: FakePhone, guard: Guard) -> None:
    guard.before_run()
    write(phone, 64 * MIB)
    guard.before_test()
    write(phone, 1 * MIB)
    for _ in range(2):
        with pytest.raises(EnvironmentRefused, match=r"65 MiB written .* limits\.written_per_run is 64 MiB"):
            guard.before_test()


def test_no_test_begins_with_a_battery_that_ran_low(phone: FakePhone, guard: Guard) -> None:
    guard.before_run()
    phone.android.battery["level"] = "12"
    with pytest.raises(EnvironmentRefused, match="battery at 12 %"):
        guard.before_test()


def test_caveats_of_the_guard_join_those_of_the_result() -> None:
    result = RunResult("t", "T", {}, {"m": Metric("s", "lower", [1.0])}, caveats=[Caveat.few_repeats, Caveat.too_hot])
    assert with_caveats(result, ["too_hot", "throttled"]).caveats == [
        Caveat.few_repeats, Caveat.too_hot, Caveat.throttled
    ]  # fmt: skip


def test_the_names_that_the_guard_uses_are_caveats() -> None:
    assert {"too_hot", "throttled"} <= set(Caveat.__members__)
