"""A night as one page that needs nothing else: no network, no other file, no script."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from base.text import clean
from base.units import format_duration
from farm.fleet_text import kernel_of_run, profile_of_run, verdict_of
from farm.night_log import PhoneEnd
from farm.story import Story
from reports.html import template

_BAD = (PhoneEnd.not_restored, PhoneEnd.failed, PhoneEnd.lost, PhoneEnd.wrong)


def fleet_page(story: Story) -> str:
    """Return the page: first what needs a person, then regressions, then a line a phone. Every string is escaped."""
    phones: list[dict[str, Any]] = story["phones"]
    page = template("fleet.html.j2").render(
        night=story,
        worse=[phone for phone in phones if phone["against"] and phone["against"]["worse"]],
        links={phone["serial"]: _report_of(phone["run"], story["folder"]) for phone in phones},
        profiles={phone["serial"]: profile_of_run(phone) for phone in phones},
        kernels={phone["serial"]: kernel_of_run(phone) for phone in phones},
        verdicts={phone["serial"]: verdict_of(phone) for phone in phones},
        took={
            phone["serial"]: format_duration(round(sum(each["seconds"] for each in phone["attempts"])))
            for phone in phones
        },
        bad=_BAD,
    )
    return clean(page)


def _report_of(run: str, folder: str) -> str:
    """Where a phone's own report is, seen from the page; empty for a phone without one."""
    report = Path(run, "report.html")
    return quote(os.path.relpath(report, folder)) if run and report.is_file() else ""
