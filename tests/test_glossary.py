"""One meaning for each name: the core's classes are in the glossary, and no two classes share a name."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
GLOSSARY = (REPO / "docs/glossary.md").read_text(encoding="utf-8")
ROWS = [line for line in GLOSSARY.splitlines() if line.startswith("| ") and not line.startswith("| word ")]

# What a reader meets first: the types that rooms hand to each other.
CORE = (
    "base/deadline.py", "devices/backing.py", "devices/capability.py", "devices/counters.py", "devices/device.py",
    "devices/identity.py", "devices/journal.py", "devices/phone.py", "devices/probe/session.py",
    "devices/profiles/profile.py",
    "devices/transport.py", "devices/zram.py", "records/model.py", "records/reading.py", "records/tests.py",
    "reports/comparison/compare.py", "workloads/bench.py", "workloads/stage.py",
)  # fmt: skip
ROOMS = ("base", "devices", "records", "reports", "workloads", "suites", "commands", "farm")
# Where a fake or a guest stands for the real thing under the same name, on purpose.
APART = ("devices/fake/",)


def classes(path: Path) -> list[ast.ClassDef]:
    return [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]


def is_error(node: ast.ClassDef) -> bool:
    return any(re.search(r"(Error|Failed|Refused|Lost|Exception|Answer)$", ast.unparse(base)) for base in node.bases)


def test_every_class_of_the_core_is_in_the_glossary() -> None:
    defined = set(re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in ROWS)))
    core = {
        node.name
        for name in CORE
        for node in classes(REPO / name)
        if not node.name.startswith("_") and not is_error(node)
    }
    assert {"Profile", "Transport", "CommandResult", "Device", "Undo", "Metric", "Bench"} <= core
    assert sorted(core - defined - {"Fact"}) == []


def test_what_the_glossary_names_exists() -> None:
    known = {node.name for room in ROOMS for path in (REPO / room).rglob("*.py") for node in classes(path)}
    assert sorted(set(re.findall(r"`([A-Z]\w+)`", GLOSSARY)) - known) == []


def test_the_glossary_is_short_and_in_order() -> None:
    assert 20 <= len(ROWS) <= 40
    heads = [row.split("|")[1].strip().split(",")[0].lower() for row in ROWS]
    assert len(set(heads)) == len(heads)


def test_no_two_public_classes_share_a_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for room in ROOMS:
        for path in sorted((REPO / room).rglob("*.py")):
            name = str(path.relative_to(REPO))
            if not name.startswith(APART):
                for node in classes(path):
                    if not node.name.startswith("_"):
                        places[node.name].append(f"{name}:{node.lineno}")
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_no_comment_points_to_a_code_that_no_document_defines() -> None:
    """A trap or a question stands as the fact itself, or as an anchor of docs/kernel-facts.md."""
    anchors = set(re.findall(r"^### ([\w-]+)$", (REPO / "docs/kernel-facts.md").read_text(), re.MULTILINE))
    assert len(anchors) > 15
    files = [
        path for room in (*ROOMS, "probe") for path in (REPO / room).rglob("*") if path.suffix in {".py", ".c", ".h"}
    ]
    wrong = []
    for path in [*files, REPO / "conftest.py"]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            codes = re.findall(r"\b[TQ][0-9]{1,2}\b", line)
            pointed = re.findall(r"kernel-facts\.md#([\w-]+)", line)
            wrong += [f"{path.relative_to(REPO)}:{number}: {code}" for code in codes]
            wrong += [f"{path.relative_to(REPO)}:{number}: #{name}" for name in pointed if name not in anchors]
    assert wrong == []
