"""``python -m records.documents``: writes the tables of docs/results.md that are made from the rows of this package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from base.documents import markdown_table, with_part
from base.paths import REPO
from records.courses import COURSES
from records.metrics import METRICS, Quantity
from records.model import Caveat
from records.parameters import PARAMETERS, Parameter
from records.tests import TESTS

FILE = REPO / "docs" / "results.md"
COMMAND = "python -m records.documents"


def tables() -> Mapping[str, str]:
    """Return the generated parts of the document by name."""
    return {
        "tests": markdown_table(
            ("`test`", "What", "`params`"),
            ((f"`{test.name}`", test.about, _code(row.key for row in test.params)) for test in TESTS.values()),
        ),
        "parameters": markdown_table(("Parameter", "What", "Values"), map(_parameter, PARAMETERS)),
        "metrics": markdown_table(
            ("Name", "Unit", "Better", "Values", "Verdict", "What"), map(_metric, METRICS.values())
        ),
        "courses": markdown_table(
            ("Name", "One element per", "Holds"), ((f"`{row.name}`", row.per, row.about) for row in COURSES.values())
        ),
        "facts": markdown_table(
            ("`test`", "Fact", "What"),
            ((f"`{test.name}`", f"`{fact.name}`", fact.about) for test in TESTS.values() for fact in test.facts),
        ),
        "caveats": markdown_table(("Name", "What"), ((f"`{caveat.name}`", caveat.value) for caveat in Caveat)),
    }


def with_tables(document: str) -> str:
    """Return the document with every generated part made anew."""
    for name, table in tables().items():
        document = with_part(document, name, COMMAND, table)
    return document


def _parameter(row: Parameter) -> tuple[str, str, str]:
    return f"`{row.key}`", row.about, _code(value for value in row.values if isinstance(value, str))


def _metric(row: Quantity) -> tuple[str, ...]:
    verdict = "yes" if row.judged else ""
    return f"`{row.name}`", row.unit, row.better, row.values, verdict, f"{row.words}: {row.about}"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def main() -> None:
    """Write the document."""
    FILE.write_text(with_tables(FILE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
