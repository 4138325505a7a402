"""A night as one JUnit file, which Jenkins and GitLab read: a suite a phone, and the lab's faults are no failures."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from base.text import clean
from farm.night_log import PhoneEnd
from farm.story import Story

# How the case "phone" ended, that stands for the way to the phone and back.
_ERRORS = {PhoneEnd.lost: "infra", PhoneEnd.not_restored: "not restored", PhoneEnd.wrong: "usage", PhoneEnd.cut: "cut"}
_SKIPPED = (PhoneEnd.quarantined, PhoneEnd.refused)


def junit(story: Story) -> str:
    """Return the file's text."""
    root = ET.Element("testsuites", name=clean(f"{story['farm']} {story['night']}"))
    totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for phone in story["phones"]:
        suite = _suite(phone)
        for key in totals:
            totals[key] += int(suite.get(key, "0"))
        root.append(suite)
    for key, number in totals.items():
        root.set(key, str(number))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(phone: dict[str, Any]) -> ET.Element:
    facts, serial = phone["facts"], clean(phone["serial"])
    cases = [_case(serial, "phone", 0.0, *_of_phone(phone))]
    cases += [_case(serial, each["test"], each["seconds"], *_of_test(each)) for each in phone["outcomes"]]
    if phone["against"]:
        worse = phone["against"]["worse"]
        kind = "failure" if worse else "skipped" if phone["against"]["status"] else ""
        cases.append(_case(serial, "baseline", 0.0, kind, "regression", "\n".join(worse) or phone["against"]["reason"]))
    suite = ET.Element("testsuite", name=serial, hostname=serial, tests=str(len(cases)))
    for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(key, str(sum(case.find(tag) is not None for case in cases)))
    suite.set("time", f"{sum(each['seconds'] for each in phone['attempts']):.1f}")
    properties = ET.SubElement(suite, "properties")
    told = {
        "serial": serial, "profile": facts.get("profile") or phone["tags"].get("profile"), "end": phone["end"],
        "kernel": facts.get("kernel_release"), "build": facts.get("build"), "results": phone["run"],
        "attempts": len(phone["attempts"]),
    }  # fmt: skip
    for key, value in told.items():
        ET.SubElement(properties, "property", name=key, value=clean(str(value or "")))
    suite.extend(cases)
    return suite


def _of_phone(phone: dict[str, Any]) -> tuple[str, str, str]:
    end = PhoneEnd(phone["end"])
    if end in _SKIPPED:
        return "skipped", str(end), phone["why"]
    return ("error", _ERRORS[end], phone["why"]) if end in _ERRORS else ("", "", "")


def _of_test(outcome: dict[str, Any]) -> tuple[str, str, str]:
    tag = {"failed": "failure", "error": "error", "skipped": "skipped"}.get(outcome["outcome"], "")
    return tag, outcome["outcome"], outcome["reason"]


def _case(serial: str, name: str, seconds: float, tag: str, kind: str, why: str) -> ET.Element:
    case = ET.Element("testcase", classname=serial, name=clean(name), time=f"{seconds:.1f}")
    if tag:
        told = ET.SubElement(case, tag, type=kind, message=clean(why.partition("\n")[0]) or kind)
        told.text = clean(why)
    return case
