"""``./lab report RUN...``: renders stored runs again."""

from __future__ import annotations

from pathlib import Path

from base.arguments import CommandParser
from base.errors import EXIT_INTERNAL, LabError, worst
from base.output import tell
from reports.event_export import FORMS, export_events
from reports.render import render_all


def main(argv: list[str]) -> int:
    """Render every run that can be rendered; the worst error decides the exit status."""
    parser = CommandParser(prog="lab report", description="Render text, HTML and CSV again from stored results.")
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="a folder below results/, or its results.jsonl"
    )
    parser.add_argument("--mail", action="store_true", help="print the 72 columns for a mail instead of one screen")
    parser.add_argument("-v", "--verbose", action="store_true", help="print every table instead of one screen")
    parser.add_argument(
        "--events", choices=tuple(FORMS), help="instead write the block events that the run kept, for other tools"
    )
    arguments = parser.parse_args(argv)
    if arguments.events:
        return worst([_export(run, arguments.events) for run in arguments.runs])
    chosen = "mail" if arguments.mail else "text" if arguments.verbose else "screen"
    return worst([_render(run, chosen) for run in arguments.runs])


def _export(run: Path, form: str) -> int:
    try:
        written = export_events(run, form)
    except LabError as error:
        tell(error.for_people())
        return error.exit_status
    print(f"{len(written)} files: {written[0].parent}")
    return 0


def _render(run: Path, chosen: str) -> int:
    try:
        rendered = render_all(run)
    except LabError as error:
        tell(error.for_people())
        return error.exit_status
    except Exception as error:  # noqa: BLE001 results come from elsewhere too; the other runs are still rendered
        tell(f"{run}: cannot be rendered: {error!r}")
        return EXIT_INTERNAL
    print(getattr(rendered, chosen))
    for kind, path in rendered.paths.items():
        print(f"{kind + ':':<6}{path}")
    return 0
