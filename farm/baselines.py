"""Pinned runs that later ones are compared with: copies, one folder for each kind of phone and name, never changed.

``PIN/<kind>/<name>/<phone>-<run>`` is a copy of a run's records and samples. The kind is what ``baseline.by`` of the
farm's file asks for: profile, kernel and build, so that another build has no baseline before somebody pins one.
"""

from __future__ import annotations

import glob
import json
import re
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from base.errors import EXIT_NO_BASELINE, LabError, ReportError, StorageFailed
from base.files import replace_file, sync_folder
from farm.night_log import now
from farm.standing import safe_name, user
from records.model import Provenance
from records.raw import RAW_FOLDER
from records.reading import RECORDS, StoredRun, load

_ABOUT = "pinned.json"


@dataclass(frozen=True, slots=True)
class Against:
    """How a phone's run compares with its baseline: ``status`` as ./lab compare has it; 12 where there is none."""

    status: int
    baseline: str = ""
    worse: tuple[str, ...] = ()
    better: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Baseline:
    """One pinned baseline: a kind, a name, and whose runs it holds."""

    kind: str
    name: str
    folder: Path
    when: str
    who: str
    runs: tuple[str, ...]


def kind_of_phone(facts: Provenance, by: Sequence[str]) -> str:
    """Name the kind of phone that a run is of, as a folder; kinds that differ have names that differ."""
    said = [str(getattr(facts, key)) for key in by]
    plain = "_".join(re.sub(r"[^A-Za-z0-9.-]+", "-", each)[:40].strip(".-") for each in said)
    return f"{plain}_{sha256(chr(0).join(said).encode(errors='surrogatepass')).hexdigest()[:8]}"


def pin(folder: Path, name: str, runs: Sequence[Path], by: Sequence[str]) -> list[Baseline]:
    """Copy runs under a name; those of one kind together. Returns what was pinned.

    Raises ReportError for a run that cannot be read or did not pass, and where the name is taken: what was pinned is
    never changed. Raises StorageFailed.
    """
    if safe_name(name) != name:
        raise ReportError(f"{name!r} cannot name a baseline", hint="letters, digits, - and _, for example ok-2026-11")
    groups: dict[str, list[StoredRun]] = {}
    for run in map(load, runs):
        if run.end is None or run.end.exit_status:
            how = "was cut off" if run.end is None else f"ended with exit status {run.end.exit_status}"
            raise ReportError(f"{run.folder}: {how}; a baseline is a run that passed", hint="pin another one")
        groups.setdefault(kind_of_phone(run.session.provenance, by), []).append(run)
    for kind in groups:
        if (folder / kind / name).exists():
            raise ReportError(f"{folder / kind / name}: is there already", hint="baselines stay; choose another name")
    try:
        for kind, group in groups.items():
            _copy(folder / kind / name, group)
    except OSError as error:
        raise StorageFailed(f"{folder}: cannot write: {error.strerror or error}") from error
    return [each for each in pinned_in(folder) if each.name == name and each.kind in groups]


def pinned_in(folder: Path) -> list[Baseline]:
    """Every baseline, the newest first; what cannot be read as one is left out."""
    found = []
    for about in folder.glob(f"*/*/{_ABOUT}"):
        try:
            said = json.loads(about.read_text(encoding="utf-8"))
            runs = tuple(sorted(path.parent.name for path in about.parent.glob(f"*/{RECORDS}")))
            found.append(Baseline(about.parent.parent.name, about.parent.name, about.parent, str(said["when"]),
                                  str(said["who"]), runs))  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return sorted(found, key=lambda each: each.when, reverse=True)


def against_baseline(folder: Path, run: Path, by: Sequence[str]) -> Against:
    """Compare a run with the newest baseline of its kind: with runs of the same phone where it has some, else with all.

    What cannot be compared has status 12 and says why.
    """
    # What compares needs numpy and scipy: a night without a measured phone does without.
    from reports.comparison.compare import compare
    from reports.comparison.verdicts import Verdict

    try:
        facts = load(run).session.provenance
        newest = next((each for each in pinned_in(folder) if each.kind == kind_of_phone(facts, by)), None)
        if newest is None:
            return Against(EXIT_NO_BASELINE, reason=_lacking(facts, by))
        same = [each for each in newest.runs if each.startswith(f"{safe_name(facts.serial)}-")]
        pattern = (
            f"{glob.escape(str(newest.folder / safe_name(facts.serial)))}-*"
            if same
            else f"{glob.escape(str(newest.folder))}/*"
        )
        found = compare(pattern, str(run))
    except LabError as error:
        return Against(EXIT_NO_BASELINE, reason=error.for_people())
    worse, better = (
        tuple(_in_words(each.figure.pair.test, each.figure.metric, each.figure.quantile, each.ratio)
              for each in found.with_verdict(verdict))
        for verdict in (Verdict.worse, Verdict.better)
    )  # fmt: skip
    undecided = "too few repeats or runs for a verdict on any figure" if found.exit_status == EXIT_NO_BASELINE else ""
    return Against(found.exit_status, f"{newest.kind}/{newest.name}", worse, better, undecided)


def _lacking(facts: Provenance, by: Sequence[str]) -> str:
    said = ", ".join(f"{key.replace('_release', '')} {getattr(facts, key)}" for key in by)
    return f"no baseline for {said}"


def _in_words(test: str, metric: str, quantile: str, ratio: float | None) -> str:
    return f"{test}: {metric}{f' {quantile}' if quantile else ''}{f', x {ratio:.3g}' if ratio is not None else ''}"


def _copy(target: Path, runs: Sequence[StoredRun]) -> None:
    """All of them or none: the copy takes its name when it is whole."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir(parents=True)
    try:
        for run in runs:
            own = temporary / f"{safe_name(run.session.provenance.serial)}-{run.folder.name}"
            own.mkdir()
            shutil.copyfile(run.folder / RECORDS, own / RECORDS)
            if (run.folder / RAW_FOLDER).is_dir():
                shutil.copytree(run.folder / RAW_FOLDER, own / RAW_FOLDER)
        about = {"when": now(), "who": user(), "runs": [str(run.folder) for run in runs]}
        replace_file(temporary / _ABOUT, json.dumps(about, indent=1) + "\n")
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(target.parent)
