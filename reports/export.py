"""Every value of every repeat as one long table, for a spreadsheet or a data frame."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from records.model import Metric, RunResult
from records.reading import StoredRun
from reports import wording as w

FIXED = ("test", "metric", "unit", "better", "repeat", "warmup", "value")


def render_csv(run: StoredRun) -> str:
    """One line per value: test, its parameters, metric, unit, better, repeat (from 1), warmup (0 or 1), value.

    Parameters are the union over all points, in order of appearance; one that a point lacks is empty. A parameter
    whose name is taken gets ``param_`` in front. Raw latency samples stay in ``raw/*.npy``.
    """
    keys = list(dict.fromkeys(key for result in run.runs for key in result.params))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [_text(f"param_{key}" if key in FIXED else key) for key in keys]
    writer.writerow([FIXED[0], *names, *FIXED[1:]])
    for result in run.runs:
        chosen = [_cell(result.params, key) for key in keys]
        for head, metric, repeat, is_warmup, value in _values(result):
            told = [_text(head), _text(metric.unit), metric.better, repeat, int(is_warmup), repr(float(value))]
            writer.writerow([_text(result.test), *chosen, *told])
    return out.getvalue()


def _values(result: RunResult) -> Iterator[tuple[str, Metric, int, bool, float]]:
    for metrics, is_warmup in ((result.warmups, True), (result.metrics, False)):
        for name, metric in metrics.items():
            for repeat, value in enumerate(metric.values, start=1):
                yield name, metric, repeat, is_warmup, value


def _cell(params: Mapping[str, Any], key: str) -> str:
    value = params.get(key)
    return "" if value is None else _text(value) if isinstance(value, str) else str(value)


def _text(text: str) -> str:
    """Return foreign text for a cell: a spreadsheet takes one that begins like a formula for a formula, and runs it."""
    cleaned = w.clean(text)
    return f"'{cleaned}" if cleaned.startswith(("=", "+", "-", "@")) else cleaned
