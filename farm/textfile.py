"""A night in figures for node_exporter's textfile collector."""

from __future__ import annotations

from datetime import datetime

from farm.night_log import PhoneEnd
from farm.story import Story

_PREFIX = "zram_lab_night"


def textfile(story: Story) -> str:
    """Return the text: each metric with its help and its type."""
    farm, counts = _label(story["farm"]), story["counts"]
    whole: list[tuple[str, str, float]] = [
        ("status", "exit status of the last night", story["status"]),
        (
            "ended_seconds",
            "when the last night ended, in seconds since 1970",
            datetime.fromisoformat(story["ended"]).timestamp(),
        ),
        ("picked", "phones that were to be measured", counts["picked"]),
        ("measured", "phones that were measured", counts["measured"]),
        ("regressions", "phones that are worse than their baseline", counts["regressions"]),
        ("infra", "attempts that the lab failed with", counts["infra"]),
    ]
    lines = []
    for name, about, value in whole:
        lines += _head(name, about)
        lines.append(f'{_PREFIX}_{name}{{farm="{farm}"}} {value:.0f}')
    lines += _head("phones", "phones by how the night ended for them")
    lines += [f'{_PREFIX}_phones{{farm="{farm}",end="{end}"}} {counts[end]}' for end in PhoneEnd]
    return "\n".join([*lines, ""])


def _head(name: str, about: str) -> list[str]:
    return [f"# HELP {_PREFIX}_{name} {about}", f"# TYPE {_PREFIX}_{name} gauge"]


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
