"""What the index keeps of one run's folder, and the small file that says it when the rest of the folder is pruned."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from base.errors import ReportError
from base.files import open_regular, replace_file
from base.kernel import PAGE_4K
from farm.history.figures import WATCHED_TESTS, Followed, Watched, followed
from records import metrics as m
from records.model import End, RunResult
from records.reading import RECORDS, StoredRun, load

FIGURES = "figures.json"
_SCHEMA = 1
_LARGEST = 1 << 24
# A night begins and ends at noon, by this computer's clock.
_NOON = timedelta(hours=12)
_WEAR = ("life_time_estimation", "eol_info")
_DAY_0 = datetime(2000, 1, 1).date()
# The end record's count of bytes that the phone's disks took meanwhile.
WRITTEN_FACT = "disk_written_bytes"


@dataclass(frozen=True, slots=True)
class RunKind:
    """Phones that can be pooled: the same profile, kernel and build, measured by the same plan."""

    profile: str
    kernel: str
    build: str
    plan: str


@dataclass(frozen=True, slots=True)
class FolderRun:
    """One run as the index keeps it. ``night``: days from 2000-01-01 to the evening that it belongs to.

    ``version`` is of what measured: our own, and the profile's text. ``status`` is None for a run that was killed.
    ``written_bytes``: to the phone's disks; of a run without that count what its writebacks wrote, which is less.
    ``life``: the UFS descriptors on wear. ``caveats``: names.
    """

    serial: str
    kind: RunKind
    night: int
    started: float
    status: int | None
    version: str
    seconds: float | None
    written_bytes: int
    life: Mapping[str, str | None]
    caveats: Sequence[str]
    figures: Sequence[Followed]


def read_folder(folder: Path) -> FolderRun:
    """Read a run's folder, whole or pruned. Raises ReportError."""
    if (folder / RECORDS).exists() or not (folder / FIGURES).exists():
        return of_run(load(folder, tests=WATCHED_TESTS))
    return _from_json(folder / FIGURES)


def of_run(run: StoredRun) -> FolderRun:
    """What the index keeps of a stored run. Raises ReportError where it does not say when it was."""
    session, facts = run.session, run.session.provenance
    try:
        started = datetime.fromisoformat(session.started_utc)
    except ValueError:
        raise ReportError(f"{run.folder}: started_utc {session.started_utc!r} is no time") from None
    return FolderRun(
        facts.serial,
        RunKind(facts.profile, facts.kernel_release, facts.build or "", session.plan),
        night_of(started),
        started.timestamp(),
        run.end.exit_status if run.end else None,
        f"{facts.git_commit or facts.tool_versions.get('probe', '')} {facts.profile_sha256[:8]}",
        run.end.wall_time_s.get("total") if run.end else None,
        _written(run.runs, run.end),
        {name: value for name, value in facts.ufs.items() if name.startswith(_WEAR)},
        [caveat.name for caveat in session.caveats],
        followed(run),
    )  # fmt: skip


def night_of(moment: datetime) -> int:
    """The number of the night that a moment belongs to: from noon to noon of this computer's time."""
    return ((moment.astimezone() - _NOON).date() - _DAY_0).days


def date_of(night: int) -> str:
    """``2026-11-23``: the evening on which a night began."""
    return (_DAY_0 + timedelta(days=night)).isoformat()


def write_figures(folder: Path, run: FolderRun) -> None:
    """Write what the index keeps beside the records, for when they are pruned. Raises OSError."""
    replace_file(folder / FIGURES, json.dumps({"schema": _SCHEMA, **asdict(run)}, separators=(",", ":")) + "\n")


def _from_json(file: Path) -> FolderRun:
    try:
        with open_regular(file) as opened:
            kept = json.loads(opened.read(_LARGEST))
        if kept.pop("schema") != _SCHEMA:
            raise ReportError(f"{file}: of a version that this one does not know")
        figures = [Followed(**{**each, "series": Watched(**each["series"])}) for each in kept.pop("figures")]
        return FolderRun(**{**kept, "kind": RunKind(**kept["kind"]), "figures": figures})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ReportError(
            f"{file}: cannot be read: {error}", hint="remove the folder, nothing else is in it"
        ) from error


def _written(results: Sequence[RunResult], end: End | None) -> int:
    counted = end.facts.get(WRITTEN_FACT) if end else None
    if isinstance(counted, int):
        return counted
    rows = [part.get(m.WRITTEN.name) for each in results for part in (each.metrics, each.warmups)]
    return int(sum(sum(row.values) for row in rows if row)) * PAGE_4K
