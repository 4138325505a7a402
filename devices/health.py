"""Is the phone fit to be measured: charge, temperature, CPU clocks, what its storage has written; waiting, refusing.

A phone that is hot lowers its clocks, so a number taken then says little; a battery that runs empty ends a run; storage
wears. Everything comes in one round trip, because it is read around every test.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from base.deadline import Deadline
from base.errors import EnvironmentRefused
from base.kernel import SECTOR
from base.parsing import number_or_none
from devices.device import Device
from devices.profiles.sections import Limits
from devices.transport import Exec

_SYSFS = (
    "/sys/class/thermal/thermal_zone*/type", "/sys/class/thermal/thermal_zone*/temp",
    "/sys/devices/system/cpu/cpufreq/policy*/scaling_cur_freq",
    "/sys/devices/system/cpu/cpufreq/policy*/scaling_max_freq",
    "/sys/devices/system/cpu/cpufreq/policy*/cpuinfo_max_freq",
    "/sys/block/*/stat",
)  # fmt: skip
# grep: one program reads them all and says which is which. A zone that cannot be read now is left out.
HEALTH_OPS = (
    Exec(("dumpsys", "battery")),
    Exec(("dumpsys", "thermalservice")),
    Exec(("sh", "-c", f"grep -Hs . {' '.join(_SYSFS)}"), accept=(0, 1, 2)),
)
# Drivers call these thermal zones too: currents, voltages, levels of charge.
_NO_TEMPERATURE = re.compile(r"(?:.*[-_])?(?:ibat|vbat|vph|bcl)(?:[-_].*)?|soc", re.IGNORECASE)
_WHOLE_DISKS = re.compile(r"/sys/block/(?:sd[a-z]+|vd[a-z]+|mmcblk\d+|nvme\d+n\d+)/stat")
_COLDEST_C, _HOTTEST_C = 1, 120
# In tenths or thousandths of a degree: what a sensor that is not connected reads.
_COLDER_THAN_ANY = -1_000_000
_PAUSE_S = 5.0
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class CpuPolicy:
    """Frequencies in kHz of CPUs that share a clock: now, the cap that holds now, the most that the hardware does."""

    now_khz: int
    cap_khz: int
    most_khz: int


@dataclass(frozen=True, slots=True)
class Health:
    """Temperatures in °C, charge in percent. None: the phone does not say (no sensor, no service)."""

    battery_percent: int | None = None
    battery_temp_c: float | None = None
    skin_temp_c: float | None = None
    thermal_status: int | None = None
    hottest_zone: tuple[str, float] | None = None
    cpus: Mapping[str, CpuPolicy] = field(default_factory=dict)
    disk_written_bytes: int | None = None

    @property
    def temperature_c(self) -> float | None:
        """What ``limits.temperature`` is compared with. A CPU's own zone is far hotter under any load and says less."""
        known = [value for value in (self.battery_temp_c, self.skin_temp_c) if value is not None]
        return max(known, default=None)

    def hotter_than(self, limit_c: float) -> bool:
        """False for a phone without a sensor: nothing is known against it."""
        return self.temperature_c is not None and self.temperature_c > limit_c

    def for_people(self) -> str:
        """On one line, only what is known."""
        shown = [
            f"battery {self.battery_percent} %" if self.battery_percent is not None else "no battery",
            f"{self.temperature_c:.0f} °C" if self.temperature_c is not None else "no temperature sensor",
        ]
        if self.thermal_status:
            shown.append(f"thermal status {self.thermal_status}")
        capped = [name for name, cpu in self.cpus.items() if cpu.cap_khz < cpu.most_khz]
        return ", ".join([*shown, f"clock of {', '.join(capped)} capped"] if capped else shown)


def read_health(device: Device) -> Health:
    """One round trip."""
    battery, thermal, files = device.execute(*HEALTH_OPS, keep_going=True)
    return parse_health(battery.stdout, thermal.stdout, files.stdout)


def parse_health(battery: str, thermal: str, files: str) -> Health:
    """From the output of HEALTH_OPS; what is missing or absurd is None."""
    values = dict(re.findall(r"^(/[^\s:]+):(.*)$", files, re.MULTILINE))
    zones = dict(_zones(values))
    percent, battery_c = _battery(battery)
    skin_c = _skin(thermal)
    status = re.search(r"^Thermal Status: (\S+)", thermal, re.MULTILINE)
    return Health(
        battery_percent=percent,
        battery_temp_c=zones.get("battery") if battery_c is None else battery_c,
        skin_temp_c=max((c for name, c in zones.items() if "skin" in name), default=None) if skin_c is None else skin_c,
        thermal_status=number_or_none(status[1]) if status else None,
        hottest_zone=max(zones.items(), key=lambda zone: zone[1], default=None),
        cpus=dict(_policies(values)),
        disk_written_bytes=_disk_written(values),
    )


def _sane(celsius: float) -> float | None:
    return celsius if _COLDEST_C <= celsius <= _HOTTEST_C else None


def _battery(text: str) -> tuple[int | None, float | None]:
    lines = (_BATTERY_LINE.fullmatch(line.rstrip()) for line in text.splitlines())
    said = {found[1]: found[2] for found in lines if found}
    if said.get("present") == "false":
        return None, None
    level, scale, tenths = (number_or_none(said.get(key, ""), least=_COLDER_THAN_ANY) for key in _BATTERY_KEYS)
    percent = level * 100 // scale if level is not None and scale else None
    known = percent is not None and 0 <= percent <= 100
    return percent if known else None, _sane(tenths / 10) if tenths is not None else None


_BATTERY_LINE = re.compile(r"[ \t]+(\w[\w ]*): (\S+)")
_BATTERY_KEYS = ("level", "scale", "temperature")
# Temperature.aidl: TemperatureType SKIN.
_SKIN = re.compile(r"Temperature\{mValue=([0-9]{1,9}(?:\.[0-9]{1,9})?), mType=3,")


def _skin(text: str) -> float | None:
    """The hottest skin sensor: as the HAL has it now, else as it was last told."""
    now = text.partition("Current temperatures from HAL:")[2]
    for part in (now, text):
        if known := [c for word in _SKIN.findall(part) if (c := _sane(float(word))) is not None]:
            return max(known)
    return None


def _zones(values: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """Name (in small letters) and °C of each zone that is one; of two with one name the hotter comes last."""
    found: list[tuple[str, float]] = []
    for path, kind in values.items():
        reading = number_or_none(values.get(f"{path.removesuffix('/type')}/temp", ""), least=_COLDER_THAN_ANY)
        if not path.endswith("/type") or _NO_TEMPERATURE.fullmatch(kind) or reading is None:
            continue
        if (celsius := _sane(reading / 1000)) is not None:
            found.append((kind.lower(), celsius))
    yield from sorted(found, key=lambda zone: zone[1])


def _policies(values: Mapping[str, str]) -> Iterator[tuple[str, CpuPolicy]]:
    for path, text in values.items():
        folder, _, name = path.rpartition("/")
        if name != "cpuinfo_max_freq":
            continue
        now, cap = (number_or_none(values.get(f"{folder}/scaling_{which}_freq", "")) for which in ("cur", "max"))
        most = number_or_none(text)
        if most is not None and cap is not None:
            yield folder.rpartition("/")[2], CpuPolicy(now or 0, cap, most)


def _disk_written(values: Mapping[str, str]) -> int | None:
    """Of all the phone's disks together: whose partitions or files a run writes to is not looked into."""
    stats = [text.split() for path, text in values.items() if _WHOLE_DISKS.fullmatch(path)]
    sectors = [number_or_none(words[6]) for words in stats if len(words) > 6]
    known = [count * SECTOR for count in sectors if count is not None]
    return sum(known) if known else None


def throttled(before: Health, after: Health) -> list[str]:
    """CPU policies whose clock is capped below the hardware's most, and lower than it was capped before."""
    return [
        name
        for name, cpu in after.cpus.items()
        if name in before.cpus and cpu.cap_khz < min(cpu.most_khz, before.cpus[name].cap_khz)
    ]


def cool_down(device: Device, limits: Limits, say: Say, health: Health | None = None) -> Health:
    """Wait, at most ``limits.cooldown``, until the phone is not hotter than allowed; its health then."""
    health = health or read_health(device)
    deadline = Deadline.after(limits.cooldown)
    if health.hotter_than(limits.temperature):
        say(f"{device.serial}: {health.temperature_c:.1f} °C, waiting for {limits.temperature:g} °C")
    while health.hotter_than(limits.temperature) and not deadline.expired:
        time.sleep(min(_PAUSE_S, deadline.left_s))
        health = read_health(device)
    return health


def wait_until_fit(device: Device, limits: Limits, say: Say) -> Health:
    """Health at the start of a run. Raises EnvironmentRefused: battery low, or hot and not cooling.

    What the phone has no sensor for is said and not watched.
    """
    health = read_health(device)
    _check_battery(device, health, limits)
    if health.battery_percent is None and limits.battery:
        say(f"{device.serial}: no battery to be read, limits.battery is not watched")
    if health.temperature_c is None:
        say(f"{device.serial}: no temperature of battery or skin to be read, limits.temperature is not watched")
    if health.disk_written_bytes is None:
        say(f"{device.serial}: no disk's counters to be read, limits.written_per_run is not watched")
    health = cool_down(device, limits, say, health)
    if health.hotter_than(limits.temperature):
        raise EnvironmentRefused(
            f"{device.serial}: {health.temperature_c:.1f} °C after {limits.cooldown:g} s of waiting, "
            f"limits.temperature is {limits.temperature:g} °C",
            hint="put the phone into a cooler place, close what runs on it, or raise limits.cooldown",
        )
    return health


def _check_battery(device: Device, health: Health, limits: Limits) -> None:
    if health.battery_percent is not None and health.battery_percent < limits.battery:
        raise EnvironmentRefused(
            f"{device.serial}: battery at {health.battery_percent} %, limits.battery is {limits.battery} %",
            hint="charge the phone; over a weak USB port it can lose charge while it works",
        )


@dataclass(slots=True)
class Guard:
    """Watches one run's limits: asked before the run, before each test and when a test has measured.

    A reading that is younger than ``fresh_s`` seconds is taken again: tests that are short share one.
    """

    device: Device
    limits: Limits
    say: Say
    fresh_s: float = 5.0
    _start: Health = field(default_factory=Health)
    _last: Health = field(default_factory=Health)
    _read_s: float = float("-inf")
    _doubts: list[str] = field(default_factory=list)
    _stays_hot: bool = False

    def before_run(self) -> None:
        """Raises EnvironmentRefused; nothing was changed on the phone."""
        self._start = self._keep(wait_until_fit(self.device, self.limits, self.say))

    def before_test(self) -> None:
        """Waits for a hot phone, once for one that does not cool. EnvironmentRefused: what is left of a limit is 0."""
        health = self._look()
        _check_battery(self.device, health, self.limits)
        self._check_written()
        hot = health.hotter_than(self.limits.temperature)
        if hot and not self._stays_hot:
            health = self._keep(cool_down(self.device, self.limits, self.say, health))
            hot = health.hotter_than(self.limits.temperature)
        self._stays_hot = hot
        self._doubts = ["too_hot"] if hot else []
        if throttled(self._start, health):
            self._doubts.append("throttled")

    def after_test(self) -> list[str]:
        """Names of the caveats on what the test has measured until now."""
        health = self._look()
        if health.hotter_than(self.limits.temperature) and "too_hot" not in self._doubts:
            self._doubts.append("too_hot")
        if throttled(self._start, health) and "throttled" not in self._doubts:
            self._doubts.append("throttled")
        return list(self._doubts)

    def _look(self) -> Health:
        if time.monotonic() - self._read_s < self.fresh_s:
            return self._last
        return self._keep(read_health(self.device))

    def _keep(self, health: Health) -> Health:
        self._last, self._read_s = health, time.monotonic()
        return health

    @property
    def written_bytes(self) -> int | None:
        """Bytes written to the phone's disks since the run began, when they were last looked at; by whomever."""
        now, then = self._last.disk_written_bytes, self._start.disk_written_bytes
        return None if now is None or then is None else now - then

    def _check_written(self) -> None:
        written = self.written_bytes
        if written is not None and written > self.limits.written_per_run:
            raise EnvironmentRefused(
                f"{self.device.serial}: {written >> 20} MiB written to the phone's storage since the run began, "
                f"limits.written_per_run is {self.limits.written_per_run >> 20} MiB",
                hint="measure less (--plan, --repeats, --batch-sizes) or raise the limit: storage wears",
            )
