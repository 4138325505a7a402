"""From a run's folder to everything a person reads: text, mail, HTML, CSV."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from records.reading import load
from records.writing import replace_file
from reports.analysis import analyse
from reports.contents import sections
from reports.export import render_csv
from reports.html import render_html
from reports.screen import mail, screen
from reports.text import render_text


@dataclass(frozen=True, slots=True)
class Rendered:
    """``screen`` is for the terminal, ``text`` has all tables, ``mail`` fits 72 columns.

    ``paths`` maps text, mail, html and csv to the files.
    """

    screen: str
    text: str
    mail: str
    paths: Mapping[str, Path]


def render_all(run_folder: Path) -> Rendered:
    """Render a stored run again, whole or killed. :raises ReportError: if there is nothing to read or no room."""
    run = load(run_folder)
    analysis = analyse(run)
    parts = sections(analysis)
    text, for_mail = render_text(analysis, parts), mail(analysis, parts)
    contents = {
        "text": ("report.txt", text),
        "mail": ("mail.txt", for_mail),
        "html": ("report.html", render_html(analysis, parts)),
        "csv": ("report.csv", render_csv(run)),
    }
    paths = {}
    for kind, (name, content) in contents.items():
        paths[kind] = run.folder / name
        replace_file(paths[kind], content)
    return Rendered(screen(analysis, parts), text, for_mail, paths)
