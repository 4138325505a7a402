"""A comparison as text: for the terminal, and in 72 columns to be pasted into a mail."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterable

from base.text import clean as printable
from reports import wording as w
from reports.comparison import words
from reports.comparison.compare import Comparison
from reports.comparison.tables import difference_table, information_table, missing_table, verdict_tables
from reports.comparison.verdicts import Verdict
from reports.tables import Column, Doubts, Table
from reports.text import MAIL_WIDTH, TERMINAL_WIDTH, table_text

# What is left of 72 columns for the parameters, and the least that a cell is wrapped at.
_GAP, _LEAST_WRAP = 2, 10


def render_table(comparison: Comparison) -> str:
    """Everything, at most 100 columns where its content allows it."""
    head = words.title(comparison)
    parts = [f"{head}\n{'=' * len(head)}", _paragraphs(words.findings(comparison), TERMINAL_WIDTH)]
    parts += _told_first(comparison, TERMINAL_WIDTH)
    tables = [difference_table(comparison), *verdict_tables(comparison)]
    parts += [table_text(table, TERMINAL_WIDTH) for table in tables]
    parts.append(textwrap.fill(words.how(comparison), TERMINAL_WIDTH))
    parts += [
        table_text(table, TERMINAL_WIDTH)
        for table in (missing_table(comparison), information_table(comparison))
        if table is not None
    ]
    return printable("\n\n".join(parts) + "\n")


def render_mail(comparison: Comparison) -> str:
    """What differs, the verdicts and the doubts in 72 columns."""
    doubts = Doubts()
    parts = [_fill(words.title(comparison), MAIL_WIDTH), _paragraphs(words.findings(comparison), MAIL_WIDTH)]
    parts += _told_first(comparison, MAIL_WIDTH)
    parts.append(_differences(comparison))
    parts += [_mail_table(table) for table in verdict_tables(comparison, doubts)]
    parts.append(textwrap.fill(words.how(comparison), MAIL_WIDTH, break_on_hyphens=False))
    if missing := missing_table(comparison):
        parts.append(_lines("Without counterpart", (f"only in {row[0]}: {row[1]}" for row in missing.rows)))
    if notes := doubts.notes():
        parts.append(_lines("Doubts", notes))
    return printable("\n\n".join(parts).replace("µs", "us") + "\n")


def _told_first(comparison: Comparison, width: int) -> list[str]:
    lines = [f"*** ATTENTION: {alarm}" for alarm in words.alarms(comparison)]
    lines += [f"*** NOT READ: {w.clean(problem)}" for problem in comparison.problems]
    lines += [f"*** {doubt}" for doubt in words.doubts(comparison)]
    return ["\n".join(_fill(line, width, "    ") for line in lines)] if lines else []


def _differences(comparison: Comparison) -> str:
    table = difference_table(comparison)
    rows = [
        f"{what}: {base.replace(chr(10), ', ')} -> {cand.replace(chr(10), ', ')}" for what, base, cand in table.rows
    ]
    return _lines(f"BASE -> CAND. {table.intro}", rows)


def _mail_table(table: Table) -> str:
    """The columns that are needed; the first one takes what the others leave."""
    # The notes below the table spell it out.
    rows = [tuple(cell.replace(Verdict.undecided.value, "?") for cell in row) for row in table.rows]
    heads = [column.head if column.head != "doubts" else "" for column in table.columns]
    columns = [Column(head, each.numeric) for head, each in zip(heads, table.columns, strict=True)]
    shown = dataclasses.replace(table, columns=tuple(columns), rows=tuple(rows)).shown_columns()
    taken = sum(_GAP + max(len(heads[i]), *(len(row[i]) for row in rows)) for i in shown if i)
    columns[0] = Column(heads[0], False, max(_LEAST_WRAP, MAIL_WIDTH - taken))
    narrow = dataclasses.replace(table, title="", intro="", columns=tuple(columns), rows=tuple(rows))
    # table_text underlines a title; a mail has it as a sentence.
    head = " ".join(filter(None, (f"{table.title}.", table.intro)))
    return _fill(head, MAIL_WIDTH) + "\n" + table_text(narrow, MAIL_WIDTH).lstrip("\n")


def _lines(head: str, items: Iterable[str]) -> str:
    return "\n".join([_fill(head, MAIL_WIDTH), *(_fill(item, MAIL_WIDTH, "   ") for item in items)])


def _paragraphs(sentences: Iterable[str], width: int) -> str:
    return "\n".join(_fill(f"* {sentence}", width, "  ") for sentence in sentences)


def _fill(text: str, width: int, hanging: str = "") -> str:
    return textwrap.fill(text, width, subsequent_indent=hanging, break_on_hyphens=False)
