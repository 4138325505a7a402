"""A night in KCIDB's exchange format, version 5.3, for whoever wants to send it; this project sends nothing.

A lost phone is an ERROR there, never a FAIL. A figure is DONE, with its number: it says nothing of right or wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from base.text import clean
from farm.night_log import PhoneEnd
from farm.story import Story

ORIGIN = "zram_writeback_lab"
_VERSION = {"major": 5, "minor": 3}
_OUTCOMES = {"passed": "PASS", "failed": "FAIL", "error": "ERROR", "skipped": "SKIP"}
_ENDS = {
    PhoneEnd.lost: "ERROR", PhoneEnd.refused: "ERROR", PhoneEnd.not_restored: "ERROR", PhoneEnd.wrong: "ERROR",
    PhoneEnd.cut: "MISS", PhoneEnd.quarantined: "MISS",
}  # fmt: skip
_ARCHS = {"aarch64": "arm64"}


def kcidb(story: Story) -> str:
    """Return the document; a kernel without a git commit is known by its id alone."""
    builds: dict[str, dict[str, Any]] = {}
    tests: list[dict[str, Any]] = []
    for phone in story["phones"]:
        kernel = phone["kernel"] or {
            "release": phone["facts"].get("kernel_release"),
            "build": phone["facts"].get("build"),
        }
        own = _id("build", str(kernel.get("release")), str(kernel.get("build")))
        builds.setdefault(own, _build(own, kernel))
        tests += [{**_test(story, phone, own), **each} for each in _each(story, phone)]
    checkouts = [{"id": build["checkout_id"], "origin": ORIGIN} for build in builds.values()]
    document = {"version": _VERSION, "checkouts": checkouts, "builds": list(builds.values()), "tests": tests}
    return json.dumps(document, indent=1) + "\n"


def _build(own: str, kernel: dict[str, Any]) -> dict[str, Any]:
    found = {"id": own, "origin": ORIGIN, "checkout_id": own.replace(":build-", ":checkout-")}
    if arch := kernel.get("arch"):
        found["architecture"] = _ARCHS.get(arch, arch)
    return found | {"misc": {key: clean(str(value)) for key, value in kernel.items() if value is not None}}


def _test(story: Story, phone: dict[str, Any], build: str) -> dict[str, Any]:
    misc = {"serial": clean(phone["serial"]), **{key: clean(value) for key, value in phone["tags"].items()}}
    comment = clean(str(phone["facts"].get("model") or phone["tags"].get("profile") or phone["serial"]))
    began = phone["attempts"][-1]["began"] if phone["attempts"] else story["began"]
    return {"origin": ORIGIN, "build_id": build, "start_time": began, "environment": {"comment": comment, "misc": misc}}


def _each(story: Story, phone: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The way to the phone where it failed, then each test, then each figure."""
    serial, end = phone["serial"], PhoneEnd(phone["end"])
    if end in _ENDS:
        yield {"id": _id("test", story["night"], serial, "phone"), "path": "zram_writeback.phone", "status": _ENDS[end],
               "comment": clean(phone["why"].partition("\n")[0])}  # fmt: skip
    for each in phone["outcomes"]:
        yield {
            "id": _id("test", story["night"], serial, each["test"]), "path": _path(each["test"].removeprefix("test_")),
            "status": _OUTCOMES.get(each["outcome"], "ERROR"), "duration": each["seconds"],
            "comment": clean(each["title"]),
        }  # fmt: skip
    for each in phone["figures"]:
        params = [f"{key}_{value}" for key, value in each["params"].items()]
        yield {
            "id": _id("test", story["night"], serial, each["test"], each["metric"], *params), "status": "DONE",
            "path": _path(each["metric"], *params), "number": {"value": each["median"], "unit": each["unit"]},
        }  # fmt: skip


def _path(*parts: str) -> str:
    """A path of KCIDB's tree: words of letters, digits, - and _."""
    return ".".join(["zram_writeback", *(re.sub(r"[^A-Za-z0-9_-]+", "_", part).strip("_") for part in parts)])


def _id(kind: str, *parts: str) -> str:
    return f"{ORIGIN}:{kind}-{sha256(chr(0).join(parts).encode(errors='surrogatepass')).hexdigest()[:20]}"
