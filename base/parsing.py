"""The one place where text that others wrote becomes a number."""

from __future__ import annotations

import re

from base.errors import UnreadableAnswer
from base.units import shown

# 20 digits hold every 64-bit counter; a wall of digits must not become arithmetic.
_WHOLE = re.compile(r"[+-]?[0-9]{1,20}")


def whole_number(text: str, what: str) -> int:
    """A whole number in ASCII digits; white space around it is fine.

    Raises UnreadableAnswer that names ``what`` was read and shows the text.
    """
    if not _WHOLE.fullmatch(text.strip()):
        raise UnreadableAnswer(f"{what}: {shown(text)} is not a whole number")
    return int(text)
