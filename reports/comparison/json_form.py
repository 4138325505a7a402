"""A comparison as JSON, for a build server or a dashboard; docs/comparing.md describes it."""

from __future__ import annotations

import json
from typing import Any

from reports.comparison import words
from reports.comparison.compare import Comparison
from reports.comparison.points import PooledPoint
from reports.comparison.sides import Side
from reports.comparison.values import Observed
from reports.comparison.verdicts import Compared

SCHEMA = 2


def render_json(comparison: Comparison) -> str:
    """Every figure with both sides, the verdict and its reason. Figures are in the unit that is named."""
    content = {
        "schema": SCHEMA,
        "exit_status": comparison.exit_status,
        "relevant": comparison.relevant,
        "findings": words.findings(comparison),
        "attention": words.alarms(comparison),
        "not_read": list(comparison.problems),
        "base": _side(comparison.base),
        "cand": _side(comparison.cand),
        "differs": [{"what": each.what, "base": each.base, "cand": each.cand} for each in comparison.differs],
        "figures": [_figure(each) for each in comparison.figures],
        "only_base": [_point(point) for point in comparison.pairing.only_base],
        "only_cand": [_point(point) for point in comparison.pairing.only_cand],
    }
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False, default=str)
    return "".join(c if c == "\n" or c.isprintable() else json.dumps(c)[1:-1] for c in text) + "\n"


def _side(side: Side) -> dict[str, Any]:
    runs = [{"run": run.session.run_id, "folder": str(run.folder), "complete": run.complete} for run in side.runs]
    return {
        "runs": runs,
        "kernel": side.provenance.kernel_release,
        "turns": len(side.turns),
        "disturbed_turns": side.disturbed,
        "caveats": [caveat.name for caveat in side.caveats],
    }


def _figure(each: Compared) -> dict[str, Any]:
    figure = each.figure
    return {
        "test": figure.pair.test,
        "params": {"base": dict(figure.pair.base.params), "cand": dict(figure.pair.cand.params)},
        "metric": figure.metric,
        "quantile": figure.quantile or None,
        "unit": figure.unit,
        "better": figure.better,
        "base": _observed(figure.base),
        "cand": _observed(figure.cand),
        "ratio": each.ratio,
        "interval": each.interval,
        "p": each.p,
        "corrected_p": each.corrected_p,
        "primary": figure.is_primary,
        "verdict": each.verdict.value or None,
        "why": each.why or None,
        "enough": each.advice.enough,
        "advice": each.advice.words or None,
        "caveats": [caveat.name for caveat in each.caveats],
    }


def _observed(side: Observed) -> dict[str, Any]:
    return {
        "n": side.n,
        "figure": side.figure,
        "quiet_turns": side.quiet,
        "disturbed_turns": side.disturbed,
        "values": [run.tolist() for run in side.runs],
    }


def _point(point: PooledPoint) -> dict[str, Any]:
    return {"test": point.test, "params": dict(point.params)}
