"""What is generated from the profile models is current, and the examples in the documentation are real."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands.validate import main as validate
from devices.profiles.reading import SHIPPED, load
from devices.profiles.schema import DOCS_FILE, SCHEMA_FILE, schema, schema_text, with_key_tables

STALE = "run: .venv/bin/python -m devices.profiles.schema"


def test_the_schema_is_current() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), STALE


def test_the_table_of_keys_is_current() -> None:
    document = DOCS_FILE.read_text(encoding="utf-8")
    assert document == with_key_tables(document), STALE


def test_the_example_of_errors_is_what_validate_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZRAM_LAB_PROFILES", raising=False)
    document = DOCS_FILE.read_text(encoding="utf-8")
    bad, output = re.findall(r"<!-- example: \S+ -->\n```\w+\n(.*?)```", document, re.DOTALL)
    Path("bad.yaml").write_text(bad, encoding="utf-8")
    assert validate(["bad.yaml"]) == 4
    assert capsys.readouterr().err == output


def test_the_documented_first_profiles_are_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_PROFILES", str(tmp_path))
    blocks = re.findall(r"```yaml\n(.*?)```", DOCS_FILE.read_text(encoding="utf-8"), re.DOTALL)
    named = {match[1]: block for block in blocks if (match := re.search(r"^ *name: (\S+)", block, re.MULTILINE))}
    for name in ("pixel-8", "my-phone"):
        (tmp_path / f"{name}.yaml").write_text(named[name], encoding="utf-8")
        assert load(name).plans == load("generic").plans


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_profiles_have_only_keys_of_the_schema(path: Path) -> None:
    made = schema()
    assert list(_foreign_keys(yaml.safe_load(path.read_text(encoding="utf-8")), made, made)) == []


def test_the_schema_says_what_editors_need() -> None:
    made = schema()
    sweep = made["$defs"]["Sweep"]["properties"]
    assert made["required"] == ["name"]
    assert made["additionalProperties"] is False
    assert sweep["batch_sizes"]["items"] == {"type": "integer", "minimum": 1, "maximum": 4096}
    assert sweep["data"]["default"] == ["64MiB"]
    assert made["$defs"]["SlotOrder"]["enum"] == ["sparse", "sequential", "scattered"]
    assert all(field.get("description") for field in sweep.values())


def _foreign_keys(value: Any, field: dict[str, Any], made: dict[str, Any]) -> list[str]:
    """Keys of ``value`` that the schema's ``field`` does not list."""
    options = [field, *field.get("anyOf", ())]
    targets = [made["$defs"][o["$ref"].rpartition("/")[2]] if "$ref" in o else o for o in options]
    properties = next((target["properties"] for target in targets if "properties" in target), None)
    if not isinstance(value, dict) or properties is None:
        return []
    foreign = [key for key in value if key not in properties]
    return foreign + [k for key in value if key in properties for k in _foreign_keys(value[key], properties[key], made)]
