"""From two sides to what was asked for: a screen, a mail, a page or JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from records.intervals import RELEVANT
from records.writing import replace_file
from reports.comparison.compare import Comparison, compare
from reports.comparison.html import render_html
from reports.comparison.json_form import render_json
from reports.comparison.screen import render_mail, render_screen
from reports.comparison.text import render_everything

PAGE = Path("compare.html")
FORMATS: Mapping[str, Callable[[Comparison], str]] = {
    "table": render_screen,
    "mail": render_mail,
    "html": render_html,
    "json": render_json,
}


def report_comparison(
    base: str, cand: str, *, relevant: float = RELEVANT, form: str, out: Path | None = None,
    across_machines: bool = False, everything: bool = False,
) -> int:  # fmt: skip
    """Compare, and print or write the result; a page always goes to a file. Returns the exit status.

    ``across_machines``: processor and page size are among what is compared. ``everything``: a table with every figure
    in place of one screen.

    :raises ReportError: as ``compare`` does, and if the file cannot be written.
    """
    comparison = compare(base, cand, relevant, across_machines=across_machines)
    content = (render_everything if everything and form == "table" else FORMATS[form])(comparison)
    target = out or (PAGE if form == "html" else None)
    if target is None:
        print(content, end="")
    else:
        replace_file(target, content)
        print(f"compare: {target}")
    return comparison.exit_status
