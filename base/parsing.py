"""The one place where text that others wrote becomes a number."""

from __future__ import annotations

import re
from collections.abc import Sequence

from base.errors import UnreadableAnswer
from base.units import shown

# 20 digits hold every 64-bit counter; a wall of digits must not become arithmetic.
_WHOLE = re.compile(r"[+-]?[0-9]{1,20}")


def number_or_none(text: str, *, least: int | None = 0) -> int | None:
    """The whole number that ``text`` is in ASCII digits, white space aside; None for other text or below ``least``."""
    word = text.strip()
    number = int(word) if _WHOLE.fullmatch(word) else None
    return None if number is not None and least is not None and number < least else number


def whole_number(text: str, what: str, *, least: int | None = None) -> int:
    """A whole number in ASCII digits; white space around it is fine.

    Raises UnreadableAnswer that names ``what`` was read and shows the text; also for one below ``least``.
    """
    number = number_or_none(text, least=least)
    if number is None:
        limit = "" if least is None else f" of at least {least}"
        raise UnreadableAnswer(f"{what}: {shown(text)} is not a whole number{limit}")
    return number


def whole_numbers(words: Sequence[str], count: int, what: str) -> list[int]:
    """The first ``count`` of ``words``, none below 0, as of counters. Raises UnreadableAnswer, also for fewer words."""
    if len(words) < count:
        raise UnreadableAnswer(f"{what}: {shown(' '.join(words))} has {len(words)} columns, expected at least {count}")
    return [whole_number(word, what, least=0) for word in words[:count]]
