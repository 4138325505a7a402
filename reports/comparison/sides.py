"""The two sides of a comparison: which runs they are, whether they may be compared, and what differs between them."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base.errors import ReportError
from records.model import Caveat, Provenance, Turn
from records.reading import RECORDS, StoredRun, load
from reports import wording as w

EXIT_NOTHING = 12
# Names that a phone gives anew at each run, and what is allocated rather than set.
_PASSING = frozenset({"node", "allocated_bytes"})
# Kernels keep more or less for themselves; more than that is another model of the phone.
_SAME_MEMORY = 0.1
# What makes two virtual phones two machines.
_MACHINE = frozenset({"processor", "page size"})


class NothingToCompare(ReportError):
    """There is no baseline, or the two sides have no point in common."""

    exit_status = EXIT_NOTHING


@dataclass(frozen=True, slots=True)
class Side:
    """``name`` is BASE or CAND, ``where`` what was named for it.

    Its runs, at least one, were made on one kernel with one set of settings.
    """

    name: str
    where: str
    runs: tuple[StoredRun, ...]
    left_out: tuple[str, ...] = ()

    @property
    def provenance(self) -> Provenance:
        """What holds for all runs of this side; taken from the first."""
        return self.runs[0].session.provenance

    @property
    def has_batch_size(self) -> bool:
        return "writeback_batch_size" in self.provenance.zram_attributes

    @property
    def turns(self) -> list[Turn]:
        """Every turn of every run, disturbed ones too."""
        return [turn for run in self.runs for result in run.runs for turn in result.turns]

    @property
    def disturbed(self) -> int:
        """How many turns other work disturbed."""
        return sum(bool(turn.disturbed) for turn in self.turns)

    @property
    def caveats(self) -> tuple[Caveat, ...]:
        """Doubts about any run of this side as a whole."""
        found = [caveat for run in self.runs for caveat in run.session.caveats]
        found += [Caveat.incomplete_run for run in self.runs if not run.complete]
        return tuple(dict.fromkeys(found))

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read, with the run's name in front."""
        return (*self.left_out, *(f"{run.folder.name}: {each}" for run in self.runs for each in run.problems))


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same on both sides: what the comparison is about."""

    what: str
    base: str
    cand: str


def load_side(name: str, where: str) -> Side:
    """The runs that a folder, a results.jsonl or a glob names. :raises ReportError: if there are none, or a mixture."""
    left_out: list[str] = []
    runs = tuple(load(path) for path in _paths(where, left_out))
    for other in runs[1:]:
        if reason := _differs_within_a_side(runs[0], other):
            raise ReportError(
                f"{name}: {runs[0].folder} and {other.folder} cannot be pooled: {reason}",
                hint="give a glob that names runs of one kernel with one set of settings",
            )
    return Side(name, where, runs, tuple(left_out))


def check_comparable(base: Side, cand: Side, *, across_machines: bool = False) -> None:
    """:raises ReportError: with every reason why these two may not be compared.

    ``across_machines``: processor and page size are what is compared, and no reason.
    """
    if both := {run.folder.resolve() for run in base.runs} & {run.folder.resolve() for run in cand.runs}:
        raise ReportError(f"{min(both)} is on both sides", hint="a run compared with itself says nothing")
    compared = _MACHINE if across_machines else frozenset()
    if reason := _may_not_be_compared(base.provenance, cand.provenance, compared):
        raise ReportError(
            f"BASE ({base.runs[0].folder.name}) and CAND ({cand.runs[0].folder.name}) may not be compared: {reason}",
            hint="measure both on the same phone; kernel, zram module and settings are what may differ",
        )


def differences(base: Side, cand: Side) -> list[Difference]:
    """What is being compared: kernel, settings, and everything else that is not the same."""
    mine, other = _described(base.provenance), _described(cand.provenance)
    pairs = ((what, mine.get(what), other.get(what)) for what in dict.fromkeys((*mine, *other)))
    found = [(what, *_values(what, one, two)) for what, one, two in pairs]
    found += [("plan", _plans(base), _plans(cand))]
    return [Difference(what, one, two) for what, one, two in found if one != two]


def _paths(where: str, left_out: list[str]) -> list[Path]:
    path = Path(where)
    if path.is_dir() and not (path / RECORDS).is_file() and any(path.glob(f"*/{RECORDS}")):
        raise ReportError(
            f"{where}: a folder of runs, not a run", hint=f"to pool all runs in it, write '{path}/*' in quotes"
        )
    if path.exists() or not glob.has_magic(where):
        return [path]
    found = [Path(each) for each in sorted(glob.glob(where))]  # noqa: PTH207 - Path.glob takes no absolute ones
    runs = [each for each in found if (each / RECORDS).is_file() or each.name == RECORDS]
    left_out += [f"{each}: not a run, left out" for each in found if each not in runs and each.is_dir()]
    if not runs:
        raise NothingToCompare(
            f"{where}: no run matches, there is nothing to compare with", hint="look at what there is: ls results/"
        )
    return runs


def _may_not_be_compared(one: Provenance, two: Provenance, compared: frozenset[str] = frozenset()) -> str:
    """Empty if they may. Unknown is not the same as anything known."""
    kinds = ["virtual phone" if p.virtual else "real phone" for p in (one, two)]
    if kinds[0] != kinds[1]:
        return f"{kinds[0]} against {kinds[1]}"
    named = {
        "phone model": [f"{w.clean(p.manufacturer)} {w.clean(p.model)}" for p in (one, two)],
        "processor": [p.arch for p in (one, two)],
        "page size": [w.size(p.page_size_bytes) for p in (one, two)],
        "accelerator": [w.clean(p.accelerator or "none") for p in (one, two)],
    }
    if one.virtual:
        named["CPUs"] = [str(p.cpus) for p in (one, two)]  # a virtual phone's model; a real one may take some offline
    if abs(one.ram_bytes - two.ram_bytes) > _SAME_MEMORY * max(one.ram_bytes, two.ram_bytes):
        named["memory"] = [w.size(p.ram_bytes) for p in (one, two)]
    return "; ".join(f"{what} {a} against {b}" for what, (a, b) in named.items() if a != b and what not in compared)


def _differs_within_a_side(one: StoredRun, two: StoredRun) -> str:
    first, second = one.session.provenance, two.session.provenance
    if reason := _may_not_be_compared(first, second):
        return reason
    mine, other = _described(first), _described(second)
    # Several phones of one model, and several days, may be pooled; the tool's own version too.
    free = {"serial", "commit", "probe", "profile", "memory"}
    differing = [what for what in dict.fromkeys((*mine, *other)) if mine.get(what) != other.get(what)]
    return "; ".join(
        f"{what} {_value(what, mine.get(what))} against {_value(what, other.get(what))}"
        for what in differing
        if what not in free
    )


def _described(p: Provenance) -> dict[str, Any]:
    """Everything about a run that may be why its figures differ."""
    return {
        "kernel": p.kernel_release,
        "kernel build": p.kernel_build,
        "processor": p.arch,
        "page size": p.page_size_bytes,
        "system build": p.build,
        "zram attributes": _Set(p.zram_attributes),
        **_prefixed("zram", p.zram),
        **_prefixed("backing", p.backing),
        "storage": _stable_storage(p.ufs),
        "memory": p.ram_bytes,
        "CPUs": p.cpus,
        "serial": p.serial,
        "profile": f"{p.profile} {p.profile_sha256[:12]}",
        "commit": p.git_commit,
        "probe": p.tool_versions.get("probe"),
    }


def _stable_storage(ufs: Mapping[str, str | None]) -> list[str | None]:
    """What kind of storage it is, without its wear."""
    return [ufs.get(key) for key in ("vendor", "model", "revision", "specification_version")]


def _prefixed(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix} {key}": value for key, value in values.items() if key not in _PASSING}


class _Set(frozenset[str]):
    """Of two sets a reader wants to see what only one of them has."""


def _values(what: str, one: Any, two: Any) -> tuple[str, str]:
    if isinstance(one, _Set) and isinstance(two, _Set):
        return _only(one - two), _only(two - one)
    return _value(what, one), _value(what, two)


def _only(names: Iterable[str]) -> str:
    return f"has {' '.join(map(w.clean, sorted(names)))}" if names else "has nothing more"


def _value(what: str, value: Any) -> str:
    if value is None:
        return "unknown"
    if what.endswith("_bytes") or what in ("memory", "page size"):
        return w.size(value)
    if isinstance(value, list):
        return " ".join(map(w.clean, value))
    return w.clean(value)


def _plans(side: Side) -> str:
    return w.listing(sorted({w.clean(run.session.plan) for run in side.runs}))


def unreadable(sides: Iterable[Side]) -> list[str]:
    """What could not be read of all runs, for people."""
    return [f"{side.name}: {problem}" for side in sides for problem in side.problems]
