"""Numbers out of a phone's text: one, or one error that shows what was read; and nothing takes long."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from base.errors import LabError, UnreadableAnswer
from base.parsing import number_or_none, whole_number, whole_numbers
from devices.android.apps import parse_am_start, parse_processes
from devices.android.events import parse_events, parse_kernel_log
from devices.android.screen import parse_keyguard
from devices.counters import BdStat, MmStat
from devices.health import Health, parse_health
from devices.identity import parse_properties
from devices.storage import DiskStat
from devices.swaps import parse_swaps

NONSENSE = ["", "\0", "\x1b[2J", "9" * 5000, "²", "٣", "1.5", "0x10", "1_000", "a b", "\n\n", "--1"]


@pytest.mark.parametrize("text", NONSENSE)
def test_what_is_no_whole_number_is_an_error_that_shows_it_on_one_short_line(text: str) -> None:
    assert number_or_none(text) is None
    with pytest.raises(UnreadableAnswer, match="getconf PAGE_SIZE: ") as caught:
        whole_number(text, "getconf PAGE_SIZE")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_numbers_with_blanks_around_and_with_a_sign_where_one_is_allowed() -> None:
    assert whole_number(" 4096\n", "x") == 4096
    assert whole_number(str(2**64 - 1), "x") == 2**64 - 1
    assert whole_number("-2", "priority", least=-32768) == -2
    with pytest.raises(UnreadableAnswer, match="at least -1"):
        whole_number("-2", "priority", least=-1)
    with pytest.raises(UnreadableAnswer, match="2 columns, expected at least 3"):
        whole_numbers(["1", "2"], 3, "bd_stat")


@pytest.mark.parametrize("text", NONSENSE)
@pytest.mark.parametrize(
    "parse",
    [
        BdStat.parse, MmStat.parse, DiskStat.parse, lambda text: parse_swaps(f"/dev/block/zram0 partition 1 1 {text}|"),
        lambda text: parse_swaps(f"/dev/block/zram0 partition {text}"),
    ],
)  # fmt: skip
def test_counters_that_are_none_are_one_error_of_ours(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(UnreadableAnswer):
        parse(text)


@pytest.mark.parametrize("text", NONSENSE)
def test_sensors_that_say_nonsense_are_unknown(text: str) -> None:
    word = text.replace("\n", "")
    battery = f"  level: {word}\n  scale: 100\n  temperature: {word}\n"
    thermal = (
        f"Thermal Status: {word}\nCurrent temperatures from HAL:\n\tTemperature{{mValue=1.2.3, mType=3, mName=x}}\n"
    )
    files = f"/sys/class/thermal/thermal_zone0/type:battery\n/sys/class/thermal/thermal_zone0/temp:{word}\n"
    assert parse_health(battery, thermal, files) == Health()


def test_later_columns_of_other_kernels_do_not_matter() -> None:
    assert BdStat.parse("3 2 1 900 800 12288\n") == BdStat(3, 2, 1)
    assert MmStat.parse("1 2 3 4 5 6 7").huge_pages is None


@pytest.mark.parametrize(
    ("text", "properties"),
    [
        ("[a]: [1]\n[b]: []\n", {"a": "1", "b": ""}),
        ("[a]: [one\ntwo]\n[b]: [x]\n", {"a": "one\ntwo", "b": "x"}),
        ("[a]: [torn\n[b]: [x]\n", {"b": "x"}),
        ("[a]: [x]: y]\nnoise\n[b: [x]\n", {"a": "x]: y"}),
    ],
)
def test_properties(text: str, properties: dict[str, str]) -> None:
    assert parse_properties(text) == properties


MEGABYTE = {
    "one long line": "x" * 1_000_000,
    "open values": "[k]: [v\n" * 125_000,
    "one open line": "[a]: [" * 160_000,
    "properties": "".join(f"[k{i}]: [v]\n" for i in range(80_000)),
    "brackets": "[" * 1_000_000,
    "blanks": " " * 1_000_000,
    "newlines": "\n" * 1_000_000,
    "digits": "1" * 1_000_000,
    "kills": "1.0 am_kill: [" * 70_000,
    "kernel kills": "[1.0] Out of memory: lowmemorykiller: Kill '" * 20_000 + "zram-writeback-lab: kills are read",
    "dialogs": "permissioncontroller." * 45_000,
    "keyguards": "KeyguardServiceDelegate " * 40_000,
    "words": "java." * 200_000,
    "battery": "  a a" * 200_000,
}


@pytest.mark.parametrize("text", MEGABYTE.values(), ids=MEGABYTE)
@pytest.mark.parametrize(
    "parse",
    [
        parse_properties, parse_events, lambda text: parse_kernel_log(text, 1.0), parse_am_start, parse_keyguard,
        lambda text: parse_processes(text, ["a"]), lambda text: parse_health(text, text, text), parse_swaps,
    ],
    ids=["getprop", "events", "kernel", "am", "keyguard", "ps", "health", "swaps"],
)  # fmt: skip
def test_a_megabyte_of_anything_is_read_at_once(parse: Callable[[str], object], text: str) -> None:
    began_s = time.process_time()
    with suppress(LabError):
        parse(text)
    # Linear is a tenth of this; what is quadratic takes minutes.
    assert time.process_time() - began_s < 2
