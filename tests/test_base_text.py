"""Text that others wrote: nothing in it commands a terminal, and only a number becomes one."""

from __future__ import annotations

import pytest

from base.errors import CommandFailed, EnvironmentRefused, LabError, UnreadableAnswer
from base.parsing import whole_number
from base.text import clean

HOSTILE = "\x1b]0;owned\x07\x1b[2J a\0b \x9b31m \u202e \ud800"


def test_nothing_that_commands_a_terminal_is_left() -> None:
    shown = clean(HOSTILE)
    assert shown.replace("\N{REPLACEMENT CHARACTER}", "").isprintable()
    assert "owned" in shown
    shown.encode()


@pytest.mark.parametrize("text", ["", "plain", "two\nlines\tand a tab", "ümlaut → 漢字"])
def test_text_stays_as_it_is(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    "error",
    [LabError(HOSTILE, hint=HOSTILE), CommandFailed("id", 1, HOSTILE), EnvironmentRefused(f"a phone said {HOSTILE}")],
)
def test_an_error_says_nothing_raw(error: LabError) -> None:
    for said in (str(error), error.hint, error.for_people()):
        assert "\x1b" not in said
        assert "\u202e" not in said


@pytest.mark.parametrize(("text", "number"), [("0", 0), (" 42\n", 42), ("-7", -7), ("18446744073709551615", 2**64 - 1)])
def test_a_whole_number_is_read(text: str, number: int) -> None:
    assert whole_number(text, "x") == number


@pytest.mark.parametrize("text", ["", "²", "٣", "1.5", "1 2", "0x10", "1_000", "9" * 5000, "inf", "\0", "1\x1b[2J"])
def test_what_is_no_whole_number_is_named_with_where_it_was_read(text: str) -> None:
    with pytest.raises(UnreadableAnswer, match=r"mm_stat: .* is not a whole number") as caught:
        whole_number(text, "mm_stat")
    assert len(str(caught.value)) < 200
    assert "\x1b" not in str(caught.value)
