"""Sizes and durations as people write them."""

from __future__ import annotations

import re

import pytest

from base.units import DURATION_PATTERN, SIZE_PATTERN, format_duration, format_size, parse_duration, parse_size
from devices.profiles.quantities import DurationRange, SizeRange

SIZES = {
    "0": 0,
    "4096": 4096,
    "1_000": 1000,
    "7B": 7,
    "512K": 512 * 1024,
    "64MiB": 64 << 20,
    "64 MiB": 64 << 20,
    "4G": 4 << 30,
    "2GiB": 2 << 30,
    "1.5GiB": 3 << 29,
    "1TiB": 1 << 40,
}
DURATIONS = {"0s": 0.0, "500ms": 0.5, "30s": 30.0, "1.5h": 5400.0, "10min": 600.0, "2h": 7200.0, "10 min": 600.0}
NO_SIZES = ["", "MiB", "-1", "2GHz", "64MB", "64mib", "1e3", "1:30", "1__0", "0.1B", "٣MiB", "9" * 40, "64MiB\n2"]
NO_DURATIONS = ["", "s", "-1s", "30", "10m", "10 parsecs", "10:30", "1S", "1 day", "1e3s", "9" * 40 + "s"]


@pytest.mark.parametrize(("text", "size"), SIZES.items())
def test_size_is_binary(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 1 << 20, 3 << 29, (1 << 40) + 1])
def test_formatted_size_reads_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(("text", "seconds"), DURATIONS.items())
def test_duration_is_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("seconds", [0.0, 0.0005, 0.5, 1.0, 90.0, 600.0, 7200.0])
def test_formatted_duration_reads_back(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


def test_formats_choose_the_largest_exact_unit() -> None:
    shown = [format_size(1 << 30), format_size(1 << 30 | 1 << 20), format_duration(600), format_duration(90)]
    assert shown == ["1GiB", "1025MiB", "10min", "90s"]


@pytest.mark.parametrize("value", [*NO_SIZES, None, True, 1.5, -1, ["1MiB"], {}])
def test_what_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(value)[:20])):
        parse_size(value)


@pytest.mark.parametrize("value", [*NO_DURATIONS, None, True, -1, float("nan"), float("inf"), ["1s"]])
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(value)[:20])):
        parse_duration(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2GHz", "'2GHz' is not a size (unknown unit GHz); expected for example 64MiB or 2GiB"),
        ("64MB", "'64MB': MB is a decimal unit; sizes are binary, write MiB"),
        ("64mib", "'64mib': unknown unit mib; did you mean MiB?"),
        ("lots", "'lots' is not a size; expected for example 64MiB or 2GiB"),
    ],
)
def test_size_error_says_what_to_write(text: str, says: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_size(text)
    assert str(refused.value) == says


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("10 parsecs", "'10 parsecs' is not a duration (unknown unit parsecs); expected for example 500ms, 30s"),
        ("10m", "'10m': write 10min; expected for example 500ms, 30s"),
        ("30", "'30' has no unit; expected for example 500ms, 30s"),
    ],
)
def test_duration_error_says_what_to_write(text: str, says: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_duration(text)
    assert str(refused.value) == f"{says}, 10min or 2h"


def test_ranges_name_their_bounds_in_units() -> None:
    with pytest.raises(ValueError, match="8GiB is out of range; expected 1MiB to 4GiB"):
        SizeRange(1 << 20, 4 << 30)(8 << 30)
    with pytest.raises(ValueError, match="1025KiB is not a multiple of 16KiB"):
        SizeRange(1 << 20, 4 << 30, multiple=16 << 10)(1025 << 10)
    with pytest.raises(ValueError, match="0s is out of range; expected 100ms to 24h"):
        DurationRange(0.1, 86400)(0)


@pytest.mark.parametrize("text", [*SIZES, *NO_SIZES])
def test_the_schema_and_the_parser_agree_on_sizes(text: str) -> None:
    fractions_of_a_byte = text == "0.1B"
    assert bool(re.search(SIZE_PATTERN, text)) == (text in SIZES or fractions_of_a_byte)


@pytest.mark.parametrize("text", [*DURATIONS, *NO_DURATIONS])
def test_the_schema_and_the_parser_agree_on_durations(text: str) -> None:
    assert bool(re.search(DURATION_PATTERN, text)) == (text in DURATIONS)
