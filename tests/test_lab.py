"""The script ``lab``, through its command line, in a copy of the project whose one dependency is made here."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from base.deadline import Deadline, wait_until
from commands.table import table

REPO = Path(__file__).resolve().parent.parent
TOOLS = ["bash", "cat", "dirname", "env", "flock", "grep", "id", "mkdir", "mv", "readlink", "sh", "sha256sum", "tail"]
TOOLS += ["touch", "true", "uname"]
COMMANDS = [row.name for row in table()]
ECHOING = [name for name in COMMANDS if name not in ("run", "test")]
SETTING_UP = "installing the Python packages"

# Stands in for the module of a command: says how it was called.
ECHO = """
import json, os, signal
def main(argv):
    called = {"module": __name__, "file": __file__, "argv": argv, "cwd": os.getcwd(), "pid": os.getpid()}
    print(json.dumps(called), flush=True)
    if "--wait" in argv:
        signal.pause()
    return 7 if "--fail" in argv else 0
"""


@dataclass
class Lab:
    """A copy of the project and the host it is on: a PATH of its own, no network, no home."""

    root: Path
    host: Path
    env: dict[str, str] = field(default_factory=dict)

    def start(
        self, *argv: str, by: Path | None = None, as_nobody: bool = False, **options: Any
    ) -> subprocess.Popen[str]:
        settings: dict[str, Any] = {
            "cwd": self.host,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "env": self.env,
        }
        command = [str(by or self.root / "lab"), *argv]
        if as_nobody and os.geteuid() == 0:
            command = ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
        return subprocess.Popen(command, text=True, **(settings | options))

    def run(self, *argv: str, timeout: float = 120, **options: Any) -> subprocess.CompletedProcess[str]:
        with self.start(*argv, **options) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def program(self, name: str, text: str) -> None:
        """Put a program of that name, a shell script, into the host's PATH."""
        path = self.host / "bin" / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def make_wheel(folder: Path, name: str) -> str:
    """An installable package with nothing in it; returns its line for the lock."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return f"{name}==1.0 \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def make_lab(folder: Path) -> Lab:
    """A copy that is not set up yet, on a host with just the tools that ``lab`` may count on."""
    host, root = folder / "host", folder / "a lab"
    (host / "bin").mkdir(parents=True)
    lab = Lab(root, host, {"PATH": str(host / "bin"), "HOME": "/nonexistent", "CI": "true"})
    lab.env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(host), "PIP_CONFIG_FILE": os.devnull}
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, f"{tool} is not on this host"
        (host / "bin" / tool).symlink_to(found)
    # Not a link: a Python started through one would look for its library beside the link.
    lab.program("python3", f'exec "{Path(sys.executable).resolve()}" "$@"')
    lab.program("mmdebstrap", "exit 0")
    for name in ("lab", ".ci/run", "pyproject.toml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPO / name, root / name)
    write(root / "requirements.lock", make_wheel(host, "needed"))
    for package in ("base", "commands"):
        shutil.copytree(REPO / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    for command in ECHOING:
        write(root / f"commands/{command}.py", ECHO)
    for test in ("suites/test_one.py", "suites/test_two.py", "tests/test_inner.py", "tests/test_outer.py"):
        name = Path(test).stem
        mark = "@pytest.mark.phone\n" if name == "test_outer" else ""
        head = f"import os, pytest\nfrom pathlib import Path\n\n{mark}def {name}():\n    Path('{name}.ran').touch()\n"
        write(root / test, f"{head}    assert '{name}' not in os.environ.get('FAIL', '')\n")
    return lab


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A lab after its hardest birth: the first set-up was killed half-way, then two commands started at once."""
    lab = make_lab(tmp_path_factory.mktemp("born"))
    first = lab.start("doctor", start_new_session=True)
    wait_until("a half-made .venv", (lab.root / ".venv/pyvenv.cfg").exists, Deadline.after(60))
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    with lab.start("doctor") as one, lab.start("doctor") as two:
        said = [one.communicate(timeout=120), two.communicate(timeout=120)]
    assert [one.returncode, two.returncode] == [0, 0], said
    assert sorted(err.count(SETTING_UP) for _, err in said) == [0, 1]
    packages = subprocess.run(
        [lab.root / ".venv/bin/python", "-Ic", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    assert Path(packages, "needed-1.0.dist-info").is_dir()
    # The tests below that hand over to pytest mean the real one.
    write(Path(packages, "outside.pth"), sysconfig.get_path("purelib"))
    return lab


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder of the user's, with things in it that look like ours."""
    write(tmp_path / "commands/__main__.py", "raise SystemExit('the wrong commands')")
    write(tmp_path / "commands/__init__.py", "")
    return tmp_path


def echoed(done: subprocess.CompletedProcess[str]) -> Mapping[str, Any]:
    assert done.stderr == ""
    answer: Mapping[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("argv", [(), ("--help",), ("-h",), ("help",)])
def test_help_names_every_command_and_sets_nothing_up(argv: tuple[str, ...], tmp_path: Path) -> None:
    lab = make_lab(tmp_path)
    done = lab.run(*argv)
    assert (done.returncode, done.stderr) == (0, "")
    for row in table():
        assert re.search(
            rf"^  {row.name} +{re.escape(row.arguments)} +{re.escape(row.does)}$", done.stdout, re.MULTILINE
        )
    assert not (lab.root / ".venv").exists()


@pytest.mark.parametrize(("typed", "meant"), [("rum", "run"), ("docter", "doctor"), ("--helpp", "")])
def test_unknown_command_is_a_usage_error_with_a_suggestion(typed: str, meant: str, tmp_path: Path) -> None:
    done = make_lab(tmp_path).run(typed)
    assert (done.returncode, done.stdout) == (4, "")
    suggestion = f"; did you mean '{meant}'?" if meant else ""
    assert done.stderr.splitlines()[0] == f"lab: unknown command '{typed}'{suggestion}"


@pytest.mark.parametrize("command", ECHOING)
def test_a_command_goes_to_its_module(ready: Lab, elsewhere: Path, command: str) -> None:
    env = ready.env | {"PYTHONPATH": str(elsewhere), "PYTHONHOME": "/nonexistent"}
    answer = echoed(ready.run(command, "two words", "*", cwd=elsewhere, env=env))
    assert (answer["module"], answer["argv"]) == (f"commands.{command}", ["two words", "*"])
    assert answer["cwd"] == str(elsewhere)
    assert Path(answer["file"]).is_relative_to(ready.root)


def test_it_works_through_a_link(ready: Lab, elsewhere: Path) -> None:
    link = elsewhere / "laboratory"
    link.symlink_to(ready.root / "lab")
    assert echoed(ready.run("doctor", by=link, cwd=elsewhere))["module"] == "commands.doctor"


def test_later_starts_take_less_than_two_seconds(ready: Lab) -> None:
    assert ready.run("validate", "virtual", timeout=2).returncode == 0


def test_the_exit_status_is_the_commands_own(ready: Lab) -> None:
    assert ready.run("doctor", "--fail").returncode == 7


def test_a_signal_reaches_the_command_itself(ready: Lab) -> None:
    with ready.start("doctor", "--wait") as process:
        assert process.stdout
        assert json.loads(process.stdout.readline())["pid"] == process.pid
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM


def ran(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.ran"))


@pytest.mark.parametrize(
    ("argv", "tests"),
    [
        (["run"], ["test_one", "test_two"]),
        (["run", "--basetemp", "suites"], ["test_one", "test_two"]),
        (["run", "{root}/suites/test_two.py"], ["test_two"]),
        (["run", "{root}/suites/test_one.py::test_one"], ["test_one"]),
        (["test"], ["test_inner", "test_outer"]),
        (["test", "-m", "not phone"], ["test_inner"]),
        (["test", "-m", "phone"], ["test_outer"]),
    ],
)
def test_pytest_runs_the_projects_tests_in_the_users_folder(
    ready: Lab, elsewhere: Path, argv: list[str], tests: list[str]
) -> None:
    done = ready.run(*(arg.format(root=ready.root) for arg in argv), cwd=elsewhere)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"rootdir: {ready.root}\n" in done.stdout
    assert ran(elsewhere) == tests


@pytest.mark.parametrize("failing", ["test_inner", "test_outer"])
def test_one_failure_fails_the_whole_and_hides_no_other_test(ready: Lab, elsewhere: Path, failing: str) -> None:
    done = ready.run("test", cwd=elsewhere, env={**ready.env, "FAIL": failing})
    assert (done.returncode, ran(elsewhere)) == (1, ["test_inner", "test_outer"]), done.stdout + done.stderr


def test_ci_runs_the_tests_and_hands_on_its_arguments(ready: Lab, elsewhere: Path) -> None:
    done = ready.run("-k", "inner", by=ready.root / ".ci/run", cwd=elsewhere, stdin=None)
    assert (done.returncode, ran(ready.root)) == (0, ["test_inner"]), done.stdout + done.stderr


@pytest.fixture
def bare(tmp_path: Path) -> Lab:
    """Another host, which lacks mmdebstrap and apt-get."""
    lab = make_lab(tmp_path / "bare")
    (lab.host / "bin/mmdebstrap").unlink()
    return lab


def on_host_of(host: Lab, lab: Lab) -> dict[str, str]:
    return lab.env | {"PATH": host.env["PATH"]}


OLD_PYTHON = 'case "$1" in -V) echo Python 3.9.2 ;; *) exit 1 ;; esac'


def test_an_old_python_is_named_and_refused(bare: Lab) -> None:
    bare.program("python3", OLD_PYTHON)
    done = bare.run("doctor")
    assert (done.returncode, done.stdout) == (11, "")
    assert f"Python 3.11 or newer is needed; {bare.host}/bin/python3 is Python 3.9.2" in done.stderr


def test_a_changed_lock_asks_for_a_new_venv(ready: Lab, bare: Lab) -> None:
    """The host's Python is too old to make one, so that it stays at asking."""
    bare.program("python3", OLD_PYTHON)
    lock, env = ready.root / "requirements.lock", on_host_of(bare, ready)
    assert ready.run("doctor", env=env).returncode == 0
    before = lock.read_text()
    try:
        lock.write_text(before + "# changed\n")
        assert "Python 3.11 or newer is needed" in ready.run("doctor", env=env).stderr
    finally:
        lock.write_text(before)


def test_packages_that_were_tampered_with_are_refused_at_every_start(tmp_path: Path, bare: Lab) -> None:
    lab = make_lab(tmp_path)
    (wheel,) = lab.host.glob("*.whl")
    wheel.write_bytes(wheel.read_bytes() + b"tampered with")
    done = lab.run("doctor")
    assert (done.returncode, done.stdout) == (11, "")
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert "HTTPS_PROXY or PIP_INDEX_URL" in done.stderr.splitlines()[-1]
    # What it leaves is no .venv that will do: the next start makes one, for which this host has no Python.
    bare.program("python3", OLD_PYTHON)
    assert "Python 3.11 or newer is needed" in lab.run("doctor", env=on_host_of(bare, lab)).stderr


def test_a_host_without_python_and_apt_is_told_so(bare: Lab) -> None:
    (bare.host / "bin/python3").unlink()
    done = bare.run("doctor")
    assert done.returncode == 11
    assert done.stderr.splitlines()[0] == "lab: missing on this host, which has no apt-get: python3 python3-venv"


@pytest.mark.parametrize(
    ("argv", "needed"),
    [
        (["run"], True),
        (["run", "--device", "virtual"], True),
        (["run", "--device=virtual", "--device", "0A1B"], True),
        (["run", "--device", "0A1B"], False),
        (["run", "--help"], False),
        (["test"], True),
        (["test", "-m", "not phone"], False),
        (["phone", "build"], True),
        (["phone", "start", "--fresh"], True),
        (["phone", "start", "--help"], False),
        (["phone", "list"], False),
        (["doctor"], False),
        (["validate", "virtual"], False),
        (["report", "results/x"], False),
    ],
)
def test_only_what_builds_an_image_needs_mmdebstrap(ready: Lab, bare: Lab, argv: list[str], needed: bool) -> None:
    done = ready.run(*argv, cwd=bare.host, env=on_host_of(bare, ready))
    assert (done.returncode == 11) == needed
    assert ("missing on this host, which has no apt-get: mmdebstrap" in done.stderr) == needed


def test_a_phone_named_in_the_environment_needs_no_mmdebstrap(ready: Lab, bare: Lab) -> None:
    env = on_host_of(bare, ready) | {"ANDROID_SERIAL": "0A1B"}
    assert ready.run("run", cwd=bare.host, env=env).returncode == 0


KEYRING = "" if Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists() else " debian-archive-keyring"


def test_who_may_not_install_gets_the_one_line_to_type() -> None:
    # Not in pytest's folder, which other users may not enter.
    with TemporaryDirectory(prefix="lab-") as folder:
        lab = make_lab(Path(folder) / "open")
        for path in (Path(folder), lab.root, lab.host):
            path.chmod(0o777)
        (lab.host / "bin/mmdebstrap").unlink()
        lab.program("python3", 'case "$*" in *ensurepip*) exit 1 ;; esac')
        lab.program("apt-get", f"touch '{lab.host}/apt-get.called'")
        lab.program("sudo", "echo sudo: a password is required >&2; exit 1")
        done = lab.run("run", as_nobody=True)
        packages = f"python3-venv mmdebstrap{KEYRING}"
        assert (done.returncode, done.stdout) == (11, "")
        assert done.stderr.splitlines() == [
            f"lab: missing on this host: {packages}",
            f"  -> sudo apt-get update && sudo apt-get install --no-install-recommends {packages}",
        ]
        assert not (lab.host / "apt-get.called").exists()


# A fresh machine's apt-get: nothing can be installed before the lists are there.
APT_GET = """
PATH={real}:$PATH
echo "$*" >> '{host}/apt-get.log'
case "$*" in
*update*) touch '{host}/lists' ;;
*install*) test -e '{host}/lists' && touch '{host}/bin/mmdebstrap' && chmod +x '{host}/bin/mmdebstrap' ;;
esac
"""


def test_who_may_install_gets_the_packages_and_the_command_goes_on(ready: Lab, bare: Lab) -> None:
    bare.program("sudo", 'test "$1" = -n && shift; exec "$@"')
    bare.program("apt-get", APT_GET.format(host=bare.host, real=os.environ["PATH"]))
    done = ready.run("phone", "start", env=on_host_of(bare, ready))
    assert (done.returncode, done.stderr) == (0, f"lab: installing with apt-get: mmdebstrap{KEYRING}\n")
    assert json.loads(done.stdout)["argv"] == ["start"]
    calls = [line.split("300 ")[1] for line in (bare.host / "apt-get.log").read_text().splitlines()]
    install = f"install -y --no-install-recommends mmdebstrap{KEYRING}"
    assert calls == [install, "update", install]


def test_an_apt_get_that_fails_is_quoted(ready: Lab, bare: Lab) -> None:
    bare.program("sudo", 'test "$1" = -n && shift; exec "$@"')
    bare.program("apt-get", "echo E: Unable to locate package; exit 100")
    done = ready.run("phone", "start", env=on_host_of(bare, ready))
    assert (done.returncode, done.stdout) == (11, "")
    assert "E: Unable to locate package\nlab: apt-get could not install mmdebstrap" in done.stderr
