"""The order of switches: what the patterns promise, and traces that people write."""

from __future__ import annotations

from collections import Counter
from itertools import chain, pairwise
from pathlib import Path

import pytest

from base.errors import ProfileError
from devices.profiles.profile import SwitchPattern
from workloads.switching import read_trace, rounds_of, sequence_sha256

DRAWN = [SwitchPattern.round_robin, SwitchPattern.zipf, SwitchPattern.least_recent]


def flat(pattern: SwitchPattern, apps: int, rounds: int, seed: int) -> list[int]:
    return list(chain.from_iterable(rounds_of(pattern, apps, rounds, seed)))


@pytest.mark.parametrize("pattern", DRAWN)
def test_a_round_has_as_many_switches_as_there_are_apps(pattern: SwitchPattern) -> None:
    assert [len(played) for played in rounds_of(pattern, 7, 3, 1)] == [7, 7, 7]


@pytest.mark.parametrize("pattern", DRAWN)
def test_the_front_app_is_never_switched_to(pattern: SwitchPattern) -> None:
    assert all(one != other for one, other in pairwise(flat(pattern, 5, 200, 3)))


@pytest.mark.parametrize("pattern", DRAWN)
def test_a_single_app_is_switched_to_again_and_again(pattern: SwitchPattern) -> None:
    assert flat(pattern, 1, 3, 3) == [0, 0, 0]


def test_the_same_seed_gives_the_same_bytes_for_ever() -> None:
    """Results of different days, and of different Python versions, are compared switch by switch."""
    digest = sequence_sha256(rounds_of(SwitchPattern.zipf, 12, 4, 20260101))
    assert digest == "15abb44d4c2435de579b2e8697107514675e66c25b06f7ee20b85a2633ca6641"
    assert sequence_sha256(rounds_of(SwitchPattern.zipf, 12, 4, 20260102)) != digest


def test_round_robin_goes_by_the_list_whatever_the_seed() -> None:
    assert flat(SwitchPattern.round_robin, 4, 2, 1) == flat(SwitchPattern.round_robin, 4, 2, 2) == [0, 1, 2, 3] * 2


def test_zipf_chooses_the_second_app_half_as_often_as_the_first() -> None:
    """But for the rule that the front app is not chosen, which takes most from the first."""
    count = Counter(flat(SwitchPattern.zipf, 20, 5000, 1))
    assert [app for app, _ in count.most_common(4)] == [0, 1, 2, 3]
    assert count[19] > 0
    # Without the first two, which shadow each other, the rule hardly matters.
    assert count[4] / count[9] == pytest.approx(2, rel=0.15)


def test_least_recent_is_away_longest() -> None:
    switches = flat(SwitchPattern.least_recent, 6, 5, 9)
    for place in range(6, len(switches)):
        last_seen = {app: place - 1 - switches[:place][::-1].index(app) for app in range(6)}
        assert switches[place] == min(last_seen, key=lambda app: last_seen[app])
    assert switches[:6] != flat(SwitchPattern.least_recent, 6, 1, 10)


def test_a_trace_is_played_as_recorded_and_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text("# Monday morning\ncom.example.mail\n\n1  # by number\ncom.example.mail\n3\n")
    trace = read_trace(path, ["com.example.chat", "com.example.mail", "com.example.maps"])
    assert trace == [1, 0, 1, 2]
    assert rounds_of(SwitchPattern.trace, 3, 2, 0, trace) == [(1, 0, 1), (2, 1, 0)]


@pytest.mark.parametrize("word", ["com.example.gone", "0", "4", "-1"])
def test_an_unknown_app_is_named_with_its_line(tmp_path: Path, word: str) -> None:
    path = tmp_path / "trace.txt"
    path.write_text(f"1\n{word}\n2\nnobody\n")
    with pytest.raises(ProfileError) as caught:
        read_trace(path, ["a", "b", "c"])
    assert str(caught.value).splitlines() == [f"{path}:2: unknown app {word!r}", f"{path}:4: unknown app 'nobody'"]
    assert "1 to 3" in caught.value.hint


@pytest.mark.parametrize("content", [None, b"", b"# nothing\n", b"\xff\xfe\n"])
def test_a_trace_that_says_nothing_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "trace.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ProfileError, match=str(path)):
        read_trace(path, ["a"])
