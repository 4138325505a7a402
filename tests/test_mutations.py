"""The hunt of mutations.py, short; ``ZRAM_LAB_MUTATIONS=5000`` makes it long."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutations import KINDS, hunt, wanted


@pytest.mark.parametrize("kind", KINDS)
def test_nonsense_is_answered_in_words(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "state"))
    found = hunt(kind, wanted() // len(KINDS))
    assert not found.bad, found.examples
    assert found.tried >= wanted() // len(KINDS)
