"""A comparison as text, everything in it: what ``-v`` prints."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from base.text import clean as printable
from reports import wording as w
from reports.comparison import words
from reports.comparison.compare import Comparison
from reports.comparison.tables import difference_table, information_table, missing_table, verdict_tables
from reports.text import TERMINAL_WIDTH, table_text


def render_everything(comparison: Comparison) -> str:
    """Every table, at most 100 columns where its content allows it."""
    head = words.title(comparison)
    parts = [f"{head}\n{'=' * len(head)}", _paragraphs(words.findings(comparison))]
    parts += _told_first(comparison)
    tables = [difference_table(comparison), *verdict_tables(comparison)]
    parts += [table_text(table, TERMINAL_WIDTH) for table in tables]
    parts.append(_fill(words.how(comparison)))
    parts += [
        table_text(table, TERMINAL_WIDTH)
        for table in (missing_table(comparison), information_table(comparison))
        if table is not None
    ]
    return printable("\n\n".join(parts) + "\n")


def _told_first(comparison: Comparison) -> list[str]:
    lines = [f"*** ATTENTION: {alarm}" for alarm in words.alarms(comparison)]
    lines += [f"*** NOT READ: {w.clean(problem)}" for problem in comparison.problems]
    lines += [f"*** {doubt}" for doubt in words.doubts(comparison)]
    return ["\n".join(_fill(line, "    ") for line in lines)] if lines else []


def _paragraphs(sentences: Iterable[str]) -> str:
    return "\n".join(_fill(f"* {sentence}", "  ") for sentence in sentences)


def _fill(text: str, hanging: str = "") -> str:
    return textwrap.fill(text, TERMINAL_WIDTH, subsequent_indent=hanging, break_on_hyphens=False)
