"""The regression suite runs only where it is asked for: by its mark, or by its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the suite out of a run that names other tests, whose words may fit some of these."""
    paths = [Path(str(arg).split("::")[0]).resolve() for arg in config.args]
    if "regression" in config.option.markexpr or any(path.is_relative_to(_HERE) for path in paths):
        return
    left_out = [item for item in items if item.path.is_relative_to(_HERE)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
