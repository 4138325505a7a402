"""Text that others wrote, made fit to be shown: a phone, a server or a file must not be able to command a terminal."""

from __future__ import annotations

import unicodedata


def clean(text: str) -> str:
    """Show every character that is no text (escapes, NULs, marks that turn the writing round) as U+FFFD.

    Line ends and tabs stay.
    """
    # A page of half a megabyte is mostly this; character by character it would take longer than to make it.
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c)[0] == "C" and c not in "\n\t" else c for c in text
    )
