"""Reading a run back, whole or not: what can be read is read, what cannot is listed with its line."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Container
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from base.errors import ReportError
from base.files import open_regular
from base.units import shown
from records.foreign import parse_record
from records.model import READ_SCHEMAS, SCHEMA, Caveat, End, RunResult, Session, TestOutcome
from records.raw import read_samples, why_not_there

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

T = TypeVar("T")

RECORDS = "results.jsonl"
# A night on one phone writes a few MiB.
LARGEST_FILE = 1 << 28


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A stored run. ``end`` is None when it was killed; ``problems`` is what could not be read, for people.

    ``not_there`` names the raw files that are missing or no files, which ``problems`` tells.
    """

    folder: Path
    session: Session
    runs: tuple[RunResult, ...]
    outcomes: tuple[TestOutcome, ...]
    end: End | None
    problems: tuple[str, ...]
    not_there: frozenset[str] = frozenset()

    @property
    def complete(self) -> bool:
        """Whether the run reached its end; its tests may still have failed."""
        return self.end is not None

    def samples(self, result: RunResult, metric: str) -> npt.NDArray[np.uint64]:
        """Every sample of one point, in the order of measurement, in ns. :raises ReportError: if it is not readable."""
        return read_samples(self.folder, result.raw[metric], result.test)


def load(path: Path, *, tests: Container[str] | None = None) -> StoredRun:
    """Read a run's folder or its ``results.jsonl``. Raises ReportError if there is no session to read.

    ``tests``: only figures of these, for who reads a thousand runs and needs few of each; None: of all.
    """
    try:
        file = _find_records(path)
        lines = _read(file).split(b"\n")
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        why = error.strerror if isinstance(error, OSError) else error
        raise ReportError(f"{path}: cannot read: {why}", hint="check the path and its permissions") from error
    reader = _Reader(file, tests)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        is_cut_off = number == len(lines)  # every whole record ends in a newline
        reader.read_line(number, line, is_cut_off)
        if reader.stopped:
            break
    return reader.finish()


def _read(file: Path) -> bytes:
    with open_regular(file) as opened:
        if os.fstat(opened.fileno()).st_size > LARGEST_FILE:
            raise OSError(errno.EFBIG, f"larger than {LARGEST_FILE >> 20} MiB", str(file))
        return opened.read()


def _find_records(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.exists():
        raise ReportError(f"{path}: no such run", hint="give a folder below results/, or its results.jsonl")
    if (path / RECORDS).is_file():
        return path / RECORDS
    within = sorted(each.parent for each in path.glob(f"*/{RECORDS}"))
    if within:
        hint = f"it holds {len(within)} runs: name one, for example {within[-1]}"
    else:
        hint = "give a folder that a run made, such as results/20261123T101500Z-virtual"
    raise ReportError(f"{path}: not the folder of a run: it has no {RECORDS}", hint=hint)


@dataclass
class _Reader:
    """Takes line after line. The first record must be a session; everything after it is kept as far as it is sound."""

    file: Path
    tests: Container[str] | None = None
    session: Session | None = None
    runs: list[RunResult] = field(default_factory=list)
    outcomes: list[TestOutcome] = field(default_factory=list)
    end: End | None = None
    problems: list[str] = field(default_factory=list)
    not_there: set[str] = field(default_factory=set)
    stopped: bool = False

    def read_line(self, number: int, line: bytes, is_cut_off: bool) -> None:
        try:
            record = parse_record(line)
        except ValueError as error:
            self._damaged_line(number, error, is_cut_off)
            return
        if self.session is None:
            self.session = self._first_record(number, record)
        else:
            self._later_record(number, record)

    def finish(self) -> StoredRun:
        if self.session is None:
            raise ReportError(f"{self.file}: empty: the run was killed before it began", hint="nothing to show")
        for result in self.runs:
            self._check_raw_files(result)
        return StoredRun(
            self.file.parent, self.session, tuple(self.runs), tuple(self.outcomes), self.end, tuple(self.problems),
            frozenset(self.not_there),
        )  # fmt: skip

    def _damaged_line(self, number: int, error: Exception, is_cut_off: bool) -> None:
        if self.session is None:
            raise ReportError(
                f"{self.file}:{number}: not a results file: the first line is no JSON record",
                hint="give a results.jsonl that a run of this project wrote",
            ) from error
        what = "cut off, the run was killed while it wrote" if is_cut_off else f"damaged ({error})"
        self.problems.append(f"line {number}: {what}: this record is left out")

    def _first_record(self, number: int, record: Any) -> Session:
        where = f"{self.file}:{number}"
        if not isinstance(record, dict) or record.get("type") != "session":
            raise ReportError(
                f"{where}: not a results file: it does not begin with a session record",
                hint="give a results.jsonl that a run of this project wrote",
            )
        schema = record.get("schema")
        if isinstance(schema, int) and schema > SCHEMA:
            raise ReportError(
                f"{where}: written with schema {schema}, this version reads up to {SCHEMA}",
                hint="update this project and try again",
            )
        if isinstance(schema, bool) or schema not in READ_SCHEMAS:
            known = " and ".join(map(str, READ_SCHEMAS))
            raise ReportError(f"{where}: schema {schema!r} is not known", hint=f"this version reads schemas {known}")
        try:
            session = _decode(Session, record)
            if session.seed < 0:
                raise ValueError(f"seed: {session.seed} is below 0")
            if schema < SCHEMA:
                return replace(session, caveats=[*session.caveats, Caveat.samples_as_repeats])
            return session
        except ValueError as error:
            raise ReportError(f"{where}: session record: {_first_error(error)}", hint="see docs/results.md") from error

    def _later_record(self, number: int, record: Any) -> None:
        tag = record.get("type") if isinstance(record, dict) else None
        if tag == "session":
            self.problems.append(f"line {number}: a second run begins here: only the first one is read")
            self.stopped = True
            return
        if self.end is not None:
            self.problems.append(f"line {number}: a record after the run's end")
        keep: dict[str, Callable[[Any], None]] = {
            "run": self._keep_run,
            "outcome": self._keep_outcome,
            "end": self._keep_end,
        }
        if not isinstance(tag, str) or tag not in keep:
            self.problems.append(f"line {number}: record of unknown type {shown(tag)} is left out")
            return
        try:
            keep[tag](record)
        except ValueError as error:
            self.problems.append(f"line {number}: {tag} record is left out: {_first_error(error)}")

    def _keep_run(self, record: Any) -> None:
        test = record.get("test")
        if self.tests is not None and isinstance(test, str) and test not in self.tests:
            return
        result = _with_todays_order(_decode(RunResult, record))
        if self.session is not None and Caveat.samples_as_repeats in self.session.caveats:
            result = _with_todays_words(result)
        for key, value in result.params.items():
            if isinstance(value, dict | list):
                raise ValueError(f"params.{key}: one value makes a point, not several")
        rounds = [turn.round for turn in result.turns]
        if any(number < 0 for number in rounds):
            raise ValueError("turns: a round below 0")
        self.runs.append(result)

    def _keep_outcome(self, record: Any) -> None:
        self.outcomes.append(_decode(TestOutcome, record))

    def _keep_end(self, record: Any) -> None:
        self.end = _decode(End, record)

    def _check_raw_files(self, result: RunResult) -> None:
        for metric, name in result.raw.items():
            try:
                why = why_not_there(self.file.parent, name)
            except ReportError as error:
                why = "refused"
                self.problems.append(str(error))
            else:
                if why:
                    self.problems.append(f"{result.test}: the samples of {metric} are {why}: {name}")
            if why:
                self.not_there.add(name)


def _with_todays_words(result: RunResult) -> RunResult:
    """Rename, in a record of schema 1, pages that are ``mixed`` otherwise today: the two are no one point."""
    if result.params.get("pages") != "mixed":
        return result
    return replace(result, params={**result.params, "pages": "synthetic_mixed"})


def _with_todays_order(result: RunResult) -> RunResult:
    """Rename what was called ``random``: every second block, upwards, is ``sparse``, and no other point."""
    if result.params.get("order") != "random":
        return result
    return replace(result, params={**result.params, "order": "sparse"})


def _decode(kind: type[T], record: dict[str, Any]) -> T:
    fields = {key: value for key, value in record.items() if key not in ("type", "schema")}
    if isinstance(fields.get("caveats"), list):
        fields["caveats"] = [_caveat(name) for name in fields["caveats"]]
    decoded: T = _adapters()[kind].validate_python(fields)
    return decoded


def _caveat(name: Any) -> Caveat:
    if not isinstance(name, str) or name not in Caveat.__members__:
        raise ValueError(f"caveat {shown(name)} is not known to this version")
    return Caveat[name]


@cache
def _adapters() -> dict[type[Any], Any]:
    from pydantic import TypeAdapter  # late: it takes a tenth of a second, and writing a run does not need it

    return {kind: TypeAdapter(kind) for kind in (Session, RunResult, TestOutcome, End)}


def _first_error(error: ValueError) -> str:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}{more}"
