"""A night in plain text: the first line says it all; then what needs a person, regressions, and a line a phone."""

from __future__ import annotations

from collections.abc import Iterator

from tabulate import tabulate

from base.text import clean
from base.units import format_duration
from farm.story import Story

_WIDTH = 100


def fleet_text(story: Story) -> str:
    """Return the text; what comes from phones is cleaned."""
    return clean("\n".join(_lines(story)) + "\n")


def _lines(story: Story) -> Iterator[str]:
    yield story["summary"]
    yield ""
    yield f"night {story['night']}, farm {story['farm']}, plan {story['plan']}, exit status {story['status']}"
    yield f"{story['began']} to {story['ended']}" + (f", ended early: {story['stopped']}" if story["stopped"] else "")
    yield from (f"note: {note}" for note in story["notes"])
    if story["needs_a_person"]:
        yield from ("", "Needs a person")
        for each in story["needs_a_person"]:
            yield f"  {each['serial']}: {_first(each['what'])}"
            yield f"    -> {each['do']}"
    worse = [phone for phone in story["phones"] if phone["against"] and phone["against"]["worse"]]
    if worse:
        yield from ("", "Regressions")
        for phone in worse:
            yield f"  {phone['serial']}, against {phone['against']['baseline']}"
            yield from (f"    worse: {figure}" for figure in phone["against"]["worse"])
    heads = ("phone", "profile", "kernel", "ended", "tries", "took", "against", "why")
    yield from ("", tabulate([_row(phone) for phone in story["phones"]], headers=heads))
    if story["trends"]:
        yield from ("", "Trends", *(f"  {line}" for line in story["trends"]))


def _row(phone: Story) -> tuple[str, ...]:
    took = sum(each["seconds"] for each in phone["attempts"])
    return (
        clean(phone["serial"]), clean(profile_of_run(phone)), clean(kernel_of_run(phone)), phone["end"],
        f"by {phone['measured_by']}" if phone["measured_by"] else str(len(phone["attempts"])),
        format_duration(round(took)), verdict_of(phone), clean(_first(phone["why"]))[:_WIDTH],
    )  # fmt: skip


def profile_of_run(phone: Story) -> str:
    """Which profile a phone was measured with, or is to be."""
    known = (phone["kernel"] or {}).get("profile") or phone["facts"].get("profile") or phone["tags"].get("profile")
    return str(known or "-")


def kernel_of_run(phone: Story) -> str:
    """Which kernel was measured, or seen."""
    return str((phone["kernel"] or {}).get("release") or phone["facts"].get("kernel_release") or "-")


def verdict_of(phone: Story) -> str:
    """How a phone's run compares, in a word or two."""
    against = phone["against"]
    if against is None:
        return "-"
    if against["status"] == 0:
        return f"{len(against['better'])} better" if against["better"] else "same"
    return f"{len(against['worse'])} worse" if against["worse"] else "not compared"


def _first(text: str) -> str:
    return text.splitlines()[0] if text else ""
