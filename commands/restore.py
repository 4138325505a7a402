"""``./lab restore``: puts phones back that a killed run left changed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from base.arguments import CommandParser
from base.errors import EXIT_INTERNAL, EXIT_REFUSED, LabError, worst
from base.output import tell
from devices.connect import attached, connect
from devices.device import open_device
from devices.journal import Journal
from devices.journal_files import all_journals, measuring_with


def main(argv: list[str]) -> int:
    """Replay the journals of all attached phones, or of those named. Phones without a journal are left alone."""
    parser = CommandParser(prog="lab restore", description="Put phones back that a killed run left changed.")
    parser.add_argument("--device", action="append", default=[], metavar="SERIAL", help="only this phone; repeatable")
    named: list[str] = parser.parse_args(argv).device
    # The books first: what is wrong with this host's folders would reach people as an adb server that cannot start.
    pending = [path for path in all_journals() if _needs_restore(path)]
    states = attached()
    if not pending:
        print("nothing to restore: no journal of an unfinished run")
        return 0
    wanted = named or [serial for serial, state in states.items() if state == "device"]
    statuses = [_restore(serial) for serial in wanted]
    left = [path for path in pending if path.exists()]
    for path in left:
        tell(f"{path.stem}: {_why_left(path)}")
    statuses += [EXIT_REFUSED for _ in left]
    print(f"restored: {', '.join(sorted(path.stem for path in pending if path not in left)) or 'none'}")
    return worst(statuses)


def _restore(serial: str) -> int:
    """Put one phone back; whatever it answers, the others have their turn."""
    try:
        with closing(connect(serial)) as transport, open_device(transport, say=tell):
            return 0
    except LabError as error:
        tell(f"{serial}: {error.for_people()}")
        return error.exit_status
    except Exception as error:  # noqa: BLE001 an answer that nobody foresaw
        tell(f"{serial}: its answers make no sense: {error!r}")
        return EXIT_INTERNAL


def _needs_restore(path: Path) -> bool:
    """Also a journal that cannot be read: its phone's name is in its own, and opening the phone says what is wrong."""
    try:
        return Journal.open(path).pending
    except LabError:
        return True


def _why_left(path: Path) -> str:
    try:
        holder = measuring_with(Journal.open(path))
    except LabError:
        holder = None
    if holder:
        return f"in use by {holder}: that run puts its phone back"
    return (
        "not attached, or not restored; attach it (a virtual phone: start it) and run ./lab restore"
        f"\n  -> if that phone was wiped since, nothing is left to restore: delete {path}"
    )
