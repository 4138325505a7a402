"""The report as one HTML page that needs nothing else: no network, no other file, no script."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from reports import ledger, plots, tables
from reports import wording as w
from reports.analysis import Analysis
from reports.verdict import verdict

if TYPE_CHECKING:
    from jinja2 import Template


def render_html(analysis: Analysis) -> str:
    """The page. Every string is escaped: names and messages come from phones."""
    session = analysis.run.session
    return _template().render(
        phone=ledger.phone(analysis),
        session=session,
        provenance=session.provenance,
        verdict=verdict(analysis),
        caveats=analysis.session_caveats,
        problems=analysis.problems,
        throughput_plots=plots.throughput_plots(analysis),
        fault_plots=plots.fault_plots(analysis),
        throughput_tables=tables.throughput_tables(analysis),
        fault_tables=tables.fault_tables(analysis),
        integrity=tables.integrity_table(analysis),
        further=tables.further_table(analysis),
        outcomes=ledger.outcome_table(analysis),
        checks=ledger.check_table(analysis),
        provenance_table=ledger.provenance_table(analysis),
        facts=ledger.fact_table(analysis),
        warmups=tables.warmup_table(analysis),
        wall_time=ledger.wall_time_table(analysis),
        files=ledger.file_table(analysis),
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clean"] = w.clean
    return environment.get_template("report.html.j2")
