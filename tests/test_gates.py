"""Every rule of this project that a machine can check. A failure names file and line, then the rule."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from commands.table import table

REPO = Path(__file__).resolve().parent.parent
GENERATED = {
    ".git",
    ".venv",
    ".cache",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    "__pycache__",
    "results",
    "packs",
}
BINARY = {".png", ".jpg", ".npy", ".ico", ".gz"}

# Who may import whom; a package may always import itself. Wiring, commands and tests may import everything.
MAY_IMPORT = {
    "base": (),
    "records": ("base",),
    "reports": ("base", "records"),
    "devices": ("base",),
    "workloads": ("base", "devices", "records"),
    "suites": ("base", "devices", "records", "workloads"),
    "farm": ("base", "devices", "records", "reports"),
}
OURS = {*MAY_IMPORT, "commands", "conftest", "tests"}

MODULE_LINES, FUNCTION_LINES = 400, 50
# Notes to self do not belong in what is handed over. Split, so that this file passes its own test.
NOTE_TO_SELF = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"]) + r")\b")


def files() -> list[Path]:
    """Every file of the project, without what is generated."""
    found: list[Path] = []
    for folder, folders, names in os.walk(REPO):
        folders[:] = sorted(set(folders) - GENERATED)
        found += [Path(folder, name) for name in sorted(names) if Path(folder, name).is_file()]
    return found


FILES = files()
PYTHON = [path for path in FILES if path.suffix == ".py"]
C = [path for path in FILES if path.suffix in {".c", ".h"}]


def name_of(path: Path) -> str:
    return str(path.relative_to(REPO))


def is_shell_script(path: Path) -> bool:
    with path.open("rb") as file:
        return bool(re.match(rb"#!.*\b(ba|da|mk|k)?sh\b", file.readline(200)))


SHELL = [path for path in FILES if path.suffix not in BINARY and is_shell_script(path)]


def expect_none(problems: Iterable[str]) -> None:
    """Fail with all of them, one per line, and without a traceback: the lines say where to look."""
    if found := list(problems):
        pytest.fail("\n" + "\n".join(found), pytrace=False)


def run_tool(*argv: str) -> list[str]:
    """What a tool has to complain about; nothing when it exits with 0."""
    done = subprocess.run(argv, cwd=REPO, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
    said = (done.stdout + done.stderr).splitlines()
    return [] if done.returncode == 0 else [*said, f"{argv[-1]}: exit status {done.returncode}"]


def test_ruff_finds_nothing() -> None:
    expect_none(run_tool(sys.executable, "-m", "ruff", "check", "--output-format", "concise", "."))


def test_everything_is_formatted() -> None:
    expect_none(run_tool(sys.executable, "-m", "ruff", "format", "--check", "."))


def test_strict_types() -> None:
    expect_none(run_tool(sys.executable, "-m", "mypy"))


@pytest.mark.parametrize("path", SHELL, ids=name_of)
def test_shellcheck_finds_nothing(path: Path) -> None:
    shellcheck = str(Path(sys.executable).with_name("shellcheck"))
    expect_none(run_tool(shellcheck, "--format", "gcc", name_of(path)))


def test_the_scripts_that_must_be_checked_are_found() -> None:
    found = {name_of(path) for path in SHELL}
    assert found >= {"lab", ".ci/run"}
    assert any(name.startswith("devices/virtual/guest/") for name in found)


class Import(NamedTuple):
    line: int
    module: str


def imports_of(path: Path, tree: ast.Module) -> Iterator[Import]:
    """Every import, with relative ones made absolute and ``from a import b`` as ``a.b``."""
    package = path.relative_to(REPO).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package[: len(package) - node.level + 1]] if node.level else [])
            module = ".".join(part for part in (base, node.module) if part)
            yield from (Import(node.lineno, f"{module}.{alias.name}") for alias in node.names)


def is_below(module: str, allowed: str) -> bool:
    return module == allowed or module.startswith(allowed + ".")


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_is_below_it(package: str) -> None:
    modules = [path for path in PYTHON if path.is_relative_to(REPO / package) and path.name != "conftest.py"]
    assert modules
    expect_none(
        f"{name_of(path)}:{line}: {package} must not import {module}"
        for path in modules
        for line, module in imports_of(path, ast.parse(path.read_text()))
        if module.split(".")[0] in OURS - {package}
        and not any(is_below(module, allowed) for allowed in MAY_IMPORT[package])
    )


def test_nothing_depends_on_what_pytest_keeps_private() -> None:
    expect_none(
        f"{name_of(path)}:{line}: {module}"
        for path in PYTHON
        for line, module in imports_of(path, ast.parse(path.read_text()))
        if is_below(module, "_pytest")
    )


def test_the_wiring_stays_wiring() -> None:
    assert len((REPO / "conftest.py").read_text().splitlines()) < 200


def test_each_command_is_a_module_and_a_row_that_readme_shows() -> None:
    modules = {path.stem for path in (REPO / "commands").glob("*.py")}
    expect_none(f"commands/{row.name}.py: no such module" for row in table() if row.name not in modules)
    # A link in README may lead to more; what stands in the table is told in the same words.
    readme = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", (REPO / "README.md").read_text()).replace("\\|", "|")
    rows = [f"| `./lab {row.name} {row.arguments}` | {row.does} |" for row in table()]
    expect_none(f"README.md: the table of commands lacks {row}" for row in rows if row not in readme.splitlines())


def test_each_suite_test_says_in_one_line_what_it_shows() -> None:
    """That line is the row's title in the report."""
    tests = [
        (path, node)
        for path in PYTHON
        if path.parent == REPO / "suites" and path.name.startswith("test_")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert tests
    expect_none(
        f"{name_of(path)}:{node.lineno}: {node.name} needs a docstring of one line"
        for path, node in tests
        if len((ast.get_docstring(node) or "").splitlines()) != 1
    )


def test_each_module_says_what_it_is() -> None:
    expect_none(
        f"{name_of(path)}:1: no docstring" for path in PYTHON if not ast.get_docstring(ast.parse(path.read_text()))
    )


def test_modules_are_short() -> None:
    expect_none(
        f"{name_of(path)}:{lines}: more than {MODULE_LINES} lines"
        for path in [*PYTHON, *C, *SHELL]
        if (lines := len(path.read_text().splitlines())) > MODULE_LINES
    )


class Function(NamedTuple):
    line: int
    name: str
    lines: int


def python_functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Function(node.lineno, node.name, (node.end_lineno or node.lineno) - node.lineno + 1)


def braced_functions(path: Path) -> Iterator[Function]:
    """Functions of C in kernel style and of shell: from a header in the first column to a brace in the first column."""
    header = Function(0, "", 0)
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if found := re.match(r"[\w\s*]*?(\w+)\(.*[^;]$", line):
            header = Function(number, found[1], 0)
        elif line == "}" and header.line:
            yield header._replace(lines=number - header.line + 1)
            header = Function(0, "", 0)


def test_functions_are_short() -> None:
    functions = [(path, function) for path in PYTHON for function in python_functions(path)]
    functions += [(path, function) for path in [*C, *SHELL] for function in braced_functions(path)]
    # The C and shell reader is simple: it must at least see these.
    assert {"main", "set_up"} <= {function.name for path, function in functions if path not in PYTHON}
    expect_none(
        f"{name_of(path)}:{line}: {name} has {lines} lines, more than {FUNCTION_LINES}"
        for path, (line, name, lines) in functions
        if lines > FUNCTION_LINES
    )


def matches(paths: list[Path], pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name_of(path)}:{number}: {found[0]}"
        for path in paths
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if (found := pattern.search(line))
    ]


def test_no_notes_to_self() -> None:
    expect_none(matches([path for path in FILES if path.suffix not in BINARY], NOTE_TO_SELF))


def test_no_paths_of_the_machine_it_was_written_on() -> None:
    here = [str(path) for path in (REPO, Path.home()) if len(path.parts) > 2]
    pattern = re.compile("|".join([*map(re.escape, here), r"/root/\w", r"/home/\w"]))
    expect_none(matches([path for path in FILES if path.suffix not in BINARY | {".lock"}], pattern))


def test_tests_do_not_sleep() -> None:
    """A wait has a deadline (base.deadline.wait_until). To show that nothing happens, say so: ``# sleep: why``."""
    tests = [path for path in PYTHON if path.relative_to(REPO).parts[0] in {"tests", "suites"}]
    expect_none(
        f"{name_of(path)}:{node.lineno}: sleeps without '# sleep: why' on its line"
        for path in tests
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "sleep"}
        if "# sleep: " not in path.read_text().splitlines()[node.lineno - 1]
    )


def test_links_in_the_documents_lead_somewhere() -> None:
    documents = [path for path in FILES if path.suffix == ".md"]
    expect_none(
        f"{name_of(path)}:{number}: {target}"
        for path in documents
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", line)
        if not re.match(r"[a-z]+:", target) and not (path.parent / target).exists()
    )


def test_the_changelog_has_room_for_the_next_change() -> None:
    assert "\n## [Unreleased]\n" in (REPO / "CHANGELOG.md").read_text()


PYPROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())
ASKED = [Requirement(line) for line in PYPROJECT["project"]["dependencies"] + PYPROJECT["dependency-groups"]["dev"]]
LOCK = (REPO / "requirements.lock").read_text()
LOCKED = {
    canonicalize_name(name): version
    for name, version in re.findall(r"^([\w.-]+)==([\w.!+-]+)(?: ;.*)? \\$", LOCK, re.M)
}


def is_locked(need: Requirement) -> bool:
    version = LOCKED.get(canonicalize_name(need.name))
    return version is not None and need.specifier.contains(version, prereleases=True)


def test_the_lock_holds_what_pyproject_asks_for() -> None:
    expect_none(str(asked) for asked in ASKED if not is_locked(asked))


def test_the_lock_pins_everything_by_version_and_hash_and_names_no_host() -> None:
    lines = [line for line in LOCK.splitlines() if not line.startswith("#")]
    entries = [line for line in lines if not line.startswith("    --hash=sha256:")]
    assert len(entries) == len(LOCKED) > len(ASKED)
    expect_none(line for line in entries if "==" not in line or "://" in line)
    followers = [lines[lines.index(entry) + 1] for entry in entries]
    expect_none(line for line in followers if not line.startswith("    --hash=sha256:"))


def test_the_lock_is_what_is_installed_and_is_complete() -> None:
    """``lab`` installs the lock without asking what else a package needs, so nothing may be missing from it."""
    installed = {canonicalize_name(found.name): found for found in metadata.distributions()}
    expected = {name: version for name, version in LOCKED.items() if name != "colorama"}  # Windows only
    assert {name: installed[name].version for name in expected if name in installed} == expected
    needed = [Requirement(line) for name in expected for line in installed[name].requires or []]
    expect_none(
        str(need)
        for need in needed
        if (need.marker is None or need.marker.evaluate({"extra": ""})) and not is_locked(need)
    )
