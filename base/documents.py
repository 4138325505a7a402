"""Documents of which a part is written by a program, between two markers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def with_part(document: str, name: str, command: str, content: str) -> str:
    """Return the document with the part of this name made anew.

    It stands between ``<!-- NAME: written by COMMAND -->`` and ``<!-- end of NAME -->``. Raises ValueError where one of
    the two is missing: what stands between is lost otherwise, or more.
    """
    begin, end = f"<!-- {name}: written by {command} -->\n", f"<!-- end of {name} -->\n"
    before, found, rest = document.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"no part {name!r}: expected a line {begin.strip()!r} and below it a line {end.strip()!r}")
    return f"{before}{begin}\n{content}\n{end}{after}"


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a bar within a cell stays a bar."""
    bodies = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "".join(
        [f"| {' | '.join(heads)} |\n", f"|{'---|' * len(heads)}\n", *(f"| {' | '.join(row)} |\n" for row in bodies)]
    )
