"""The report as one HTML page that needs nothing else: no network, no other file, no script."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from base.text import clean as printable
from reports import further, ledger, overview
from reports import wording as w
from reports.analysis import Analysis
from reports.cells import HOW_TO_READ
from reports.sections.section import Section
from reports.verdict import verdict

if TYPE_CHECKING:
    from jinja2 import Template


def render_html(analysis: Analysis, sections: Sequence[Section]) -> str:
    """The page. Every string is escaped: names and messages come from phones."""
    session = analysis.run.session
    drawn = [(section, list(section.draw())) for section in sections]
    first = next((plots.pop(0) for _, plots in drawn if plots), None)
    page = template("report.html.j2").render(
        phone=ledger.phone(analysis),
        machine=ledger.machine(analysis),
        session=session,
        provenance=session.provenance,
        verdict=verdict(analysis, sections),
        virtual=overview.VIRTUAL if session.provenance.virtual else "",
        noise=overview.noise(analysis),
        overview=overview.batch_table(analysis),
        first=first,
        doubts=overview.doubts(analysis),
        how_to_read=HOW_TO_READ,
        problems=analysis.problems,
        sections=drawn,
        further=further.further_table(analysis),
        outcomes=ledger.outcome_table(analysis),
        checks=ledger.check_table(analysis),
        provenance_table=ledger.provenance_table(analysis),
        facts=ledger.fact_table(analysis),
        warmups=further.warmup_table(analysis),
        wall_time=ledger.wall_time_table(analysis),
        files=ledger.file_table(analysis),
    )
    return printable(page)


@cache
def template(name: str) -> Template:
    """Return one of the pages of reports/templates, in which every string is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clean"] = w.clean
    return environment.get_template(name)
