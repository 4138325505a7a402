"""A report as text, all of it: report.txt."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from tabulate import tabulate

from base.text import clean as printable
from records.model import Caveat
from reports import further, ledger, overview
from reports import wording as w
from reports.analysis import Analysis
from reports.cells import HOW_TO_READ
from reports.sections.section import Section
from reports.tables import Table
from reports.verdict import verdict

TERMINAL_WIDTH = 100
MAIL_WIDTH = 72
# Where a long name may break: textwrap takes it for white space, and it is in no cell (see wording.clean).
BREAK = "\v"
# What tabulate puts between columns.
GAP = "  "


def render_text(analysis: Analysis, sections: Sequence[Section]) -> str:
    """All tables, at most 100 columns where their content allows it."""
    p = analysis.run.session.provenance
    title = f"zram writeback on {ledger.phone(analysis)}, Linux {w.clean(p.kernel_release)}"
    head = [title, "=" * len(title), _fill(ledger.machine(analysis), TERMINAL_WIDTH), *_banners(analysis, sections)]
    findings = [f"* {each.about}: {each.text} {each.rest}" for each in verdict(analysis, sections).findings]
    findings = findings or ["Nothing was measured."]
    parts = [
        "\n".join(head),
        _fill(HOW_TO_READ, TERMINAL_WIDTH),
        "\n".join(_fill(finding, TERMINAL_WIDTH, hanging="  ") for finding in findings),
    ]
    tables = [
        overview.batch_table(analysis),
        *(table for section in sections for table in (section.table, *section.details)),
        further.further_table(analysis),
        ledger.outcome_table(analysis),
        ledger.check_table(analysis),
        further.warmup_table(analysis),
        ledger.fact_table(analysis),
        ledger.provenance_table(analysis),
        ledger.wall_time_table(analysis),
    ]
    parts += [table_text(table, TERMINAL_WIDTH) for table in tables if table is not None]
    return printable("\n\n".join(parts) + "\n")


def table_text(table: Table, width: int) -> str:
    """One table with its title, what the figures are and what to doubt."""
    lines = [f"{table.title}\n{'-' * len(table.title)}"]
    lines += [_fill(table.intro, width), ""] if table.intro else []
    lines.append(table_body(table, width))
    below = [*table.notes, *table.doubts]
    lines += ["", *(_fill(note, width, hanging="   ") for note in below)] if below else []
    return "\n".join(lines)


def _banners(analysis: Analysis, sections: Sequence[Section]) -> list[str]:
    """What must be read first."""
    shown = [c for c in analysis.session_caveats if c is not Caveat.virtual]
    is_virtual = analysis.run.session.provenance.virtual
    banners = [f"VIRTUAL PHONE: {overview.VIRTUAL}"] if is_virtual else []
    banners.append(f"NOISE: {overview.noise(analysis)}")
    banners += [f"ALL FIGURES: {c.value}" for c in shown]
    banners += [f"ATTENTION: {alarm}" for alarm in verdict(analysis, sections).alarms]
    banners += [f"NOT READ: {problem}" for problem in analysis.problems]
    return [_fill(f"*** {banner}", TERMINAL_WIDTH, hanging="    ") for banner in banners]


def table_body(table: Table, width: int) -> str:
    """The columns that hold something, heads included; closer together where they would be too wide."""
    columns = table.shown_columns()
    shown = [table.columns[i] for i in columns]
    heads = [_wrap(column.head, column.wrap) for column in shown]
    cells = [[_wrap(row[i], table.columns[i].wrap) for i in columns] for row in table.rows]
    widths = [max(len(line) for row in [heads, *cells] for line in row[i].split("\n")) for i in range(len(heads))]
    # The heads go in as rows: as heads, tabulate would widen each column by two.
    head_rows = [heads, ["-" * each for each in widths]] if any(heads) else []
    sides = ["right" if column.numeric else "left" for column in shown]
    body = tabulate([*head_rows, *cells], tablefmt="plain", colalign=sides, disable_numparse=True)
    lines = body.splitlines()
    if sum(widths) + len(GAP) * (len(widths) - 1) > width:
        lines = [_closer(line, widths) for line in lines]
    return "\n".join(line.rstrip() for line in lines)


def _closer(line: str, widths: Sequence[int]) -> str:
    """A line of a table with one space between its columns instead of two."""
    starts = [sum(widths[:i]) + len(GAP) * i for i in range(len(widths))]
    return " ".join(line[start : start + each] for start, each in zip(starts, widths, strict=True))


def _wrap(cell: str, width: int | None) -> str:
    """A cell in lines of at most this width; a name that is longer breaks behind its dots and underscores."""
    if width is None:
        return cell
    breakable = re.sub(rf"\S{{{width + 1},}}", lambda name: re.sub(r"(?<=[._/])(?=.)", BREAK, name[0]), cell)
    filled = textwrap.fill(breakable, width, break_on_hyphens=False, replace_whitespace=False)
    return filled.replace(BREAK, "")


def _fill(text: str, width: int, hanging: str = "") -> str:
    return textwrap.fill(text, width, subsequent_indent=hanging, break_on_hyphens=False)
