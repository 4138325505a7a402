"""Measures two sides in turn, A B B A, on one phone in one session, until each figure is decided or the time is over.

Boot, heat, the file's layout and the hour are the same for both sides of a round, and cancel in its ratio. When to stop
is records/sequential.py: a look after each round that does not raise the error.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from base.errors import EXIT_FAILED, EXIT_NO_BASELINE, EnvironmentRefused, ProfileError
from devices.profiles.sections import BackingKind
from records.alternated import FACT, DecidedFigure, PairedFigure
from records.model import RunResult
from records.sequential import MOST_LOOKS, SideVerdict, StoppingRule
from workloads.bench import Bench
from workloads.budget import RoundsPlan
from workloads.questions import Question, all_questions
from workloads.rounds import Rounds, measure_in_rounds
from workloads.sides import FittingRoom, PhoneSide, fitting_room
from workloads.stage import Stage

DEFAULT_QUESTIONS = ("throughput", "fault", "during", "switch")
# Settings that decide what a compressor makes of a page: such sides are compared on pages as memory has them.
# The longest that one turn of a question may take beside what the probe is given for all of them.
_LONGEST_TURN_S, _DAY_S = 3600, 86400
_OF_COMPRESSORS = {"comp_algorithm", "compressed_writeback"}


@dataclass(slots=True)
class Asked:
    """A question with its rounds, filled on the way."""

    question: Question[Any]
    rounds: Rounds[PhoneSide, Any] = field(default_factory=Rounds)


@dataclass(slots=True)
class Alternation:
    """Two sides, what is asked of them and how it is decided. ``asked`` holds what was measured, filled on the way.

    ``only`` keeps one figure of all: its metric and its place, empty for every one. ``most_rounds`` is of a question.
    """

    sides: tuple[PhoneSide, PhoneSide]
    questions: Sequence[Question[Any]]
    relevant: float
    only: tuple[str, str] = ("", "")
    most_rounds: int = MOST_LOOKS
    asked: list[Asked] = field(default_factory=list)

    @property
    def rule(self) -> StoppingRule:
        """Return the rule: the chance of a false alarm is shared by all figures of the session."""
        return StoppingRule(self.relevant, sum(len(self.figures(question)) for question in self.questions))

    def figures(self, question: Question[Any]) -> list[PairedFigure]:
        """Return the figures of a question that are judged."""
        metric, where = self.only
        return [
            each for each in question.figures if metric in ("", each.metric.name) and where in ("", each.where)
        ]  # fmt: skip

    def decided(self, asked: Asked) -> list[DecidedFigure]:
        """Return the figures of a question that have a ratio, as far as they are decided by now."""
        base, cand = self.sides
        pairs = [
            (asked.question.values(mine), asked.question.values(other))
            for mine, other in asked.rounds.pairs(cand, base)
        ]
        found = []
        for figure in self.figures(asked.question):
            both = [(mine[figure], other[figure]) for mine, other in pairs if mine.get(figure) and other.get(figure)]
            if both:
                decision = self.rule.decide(
                    [mine / other for mine, other in both], higher_is_better=figure.metric.better == "higher"
                )
                medians = [float(np.median(column)) for column in zip(*both, strict=True)]
                found.append(DecidedFigure(figure, medians[1], medians[0], decision))
        return found

    def all_decided(self, asked: Asked) -> bool:
        """Say whether every figure of a question that has a ratio is decided, and at least one has."""
        found = self.decided(asked)
        return bool(found) and all(each.decision.verdict is not SideVerdict.undecided for each in found)

    @property
    def verdicts(self) -> list[SideVerdict]:
        """Return the verdicts of all figures of the session."""
        return [each.decision.verdict for asked in self.asked for each in self.decided(asked)]


def is_mapped(stage: Stage, side: PhoneSide) -> bool:
    """Say whether a side writes to a mapped file, which takes the probe's own pages only."""
    own = [each.value.mapped for each in side.settings if each.kind.key == "backing"]
    return own[0] if own else stage.profile.backing.kind is BackingKind.mapped


def status_of(verdicts: Sequence[SideVerdict]) -> int:
    """Return the exit status of a session: 1 where a figure is worse, 12 where nothing was decided, else 0."""
    if SideVerdict.worse in verdicts:
        return EXIT_FAILED
    return 0 if any(each is not SideVerdict.undecided for each in verdicts) else EXIT_NO_BASELINE


def alternation(
    stage: Stage,
    sides: tuple[PhoneSide, PhoneSide],
    *,
    names: Sequence[str],
    relevant: float,
    metric: str = "",
    where: str = "",
) -> Alternation:
    """Choose what is asked: the questions of these names, or the primary ones that this phone can answer.

    Raises ProfileError for a metric that none of them has, EnvironmentRefused where the phone cannot answer.
    """
    differs = any(setting.name in _OF_COMPRESSORS for side in sides for setting in side.settings)
    known = all_questions(stage.profile.compressors.pages if differs else None)
    chosen = [known[name] for name in names or (known if metric else DEFAULT_QUESTIONS)]
    found = Alternation(sides, chosen, relevant, (metric, where))
    if not any(found.figures(question) for question in chosen):
        figures = (each for question in known.values() for each in question.figures)
        told = "; ".join(dict.fromkeys(f"{each.metric.name} {each.where}".strip() for each in figures))
        raise ProfileError(f"--metric {metric} {where}".strip() + ": no such figure", hint=f"figures: {told}")
    asked = [question for question in chosen if found.figures(question)]
    mapped = any(is_mapped(stage, side) for side in sides)
    able = [
        each for each in asked
        if (each.needs is None or each.needs in stage.device.capabilities) and not (mapped and each.of_apps)
    ]  # fmt: skip
    lacking = [
        f"{each.name} needs {'a backing device for the memory of apps' if each.of_apps else each.needs}"
        for each in asked if each not in able
    ]  # fmt: skip
    if lacking and (names or not able):
        raise EnvironmentRefused(
            f"{stage.device.serial}: {'; '.join(lacking)}, which this phone does not have", hint="ask another question"
        )
    return replace(found, questions=able)


def measure_alternated(bench: Bench, into: Alternation, *, now: Callable[[], float] = time.monotonic) -> None:
    """Ask one question after the other; each has its share of the time that is left.

    ``into`` takes what is measured, for a caller that keeps it when the phone is lost. Raises EnvironmentRefused when
    the phone lacks what a side needs, before anything is set.
    """
    plan = bench.rounds
    ends_s = (plan.since_s if plan.since_s is not None else now()) + plan.budget_s
    with fitting_room(bench.stage, into.sides) as room:
        for number, question in enumerate(into.questions):
            to_come = sum(each.weight for each in into.questions[number:])
            share_s = max(0.0, ends_s - now()) * question.weight / to_come
            asked = Asked(question)
            into.asked.append(asked)
            with ExitStack() as stack:
                # One probe lasts all rounds of a question, and one turn beyond its time.
                alarm_s = math.ceil(min(share_s, _DAY_S)) + _LONGEST_TURN_S
                there = bench if question.measures_itself else stack.enter_context(bench.probing(alarm_s=alarm_s))
                _ask(there, into, asked, room, replace(plan, budget_s=share_s, since_s=now()), now)
            room.take_off()


def _ask(
    bench: Bench, into: Alternation, asked: Asked, room: FittingRoom, plan: RoundsPlan, now: Callable[[], float]
) -> None:  # fmt: skip
    question, (base, cand) = asked.question, into.sides
    question.prepare(bench, room, into.sides, asked.rounds)
    most = min(into.most_rounds, question.most_rounds(bench.stage) or MOST_LOOKS)
    # No precision ends these rounds: what is decided does.
    plan = replace(plan.at_most(most), precision=-1.0)

    def visit(side: PhoneSide, turn: int) -> Any:
        return question.turn(bench.on(room.wear(side)), room, turn)

    def primary(turn: Any) -> float:
        return next(iter(question.values(turn).values()), 0.0)

    measure_in_rounds(
        bench, [base, cand], visit, plan=plan, primary=primary, ratios=[(cand, base)], into=asked.rounds, now=now,
        told=lambda side: f"{question.name}, {side}", there_and_back=True, decided=lambda: into.all_decided(asked),
    )  # fmt: skip


def alternated_results(bench: Bench, found: Alternation) -> list[RunResult]:
    """Make the records of each side and question that has turns; what was decided is among the facts of both sides."""
    records = []
    for asked in found.asked:
        facts: Mapping[str, Any] = {
            FACT: [each.as_fact() for each in found.decided(asked)], "relevant": found.relevant,
            "figures_of_the_session": found.rule.figures, **asked.rounds.facts(),
        }  # fmt: skip
        for side in found.sides:
            if asked.rounds.of(side):
                made = asked.question.results(bench, side, asked.rounds)
                records += [
                    replace(each, facts={"settings": side.words, **facts, **each.facts}) for each in made
                ]  # fmt: skip
    return records
