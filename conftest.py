"""pytest options and the life of a run: wiring only. What is wired is in workloads/run.py and farm/launcher.py."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from base.arguments import number_list
from base.errors import LabError
from base.output import output_like, tell
from base.paths import REPO
from base.signals import interrupt_once, shield
from devices.phone import Target, resolve_target
from devices.virtual.machines import ARCHS, KERNELS, PAGE_SIZES
from farm.launcher import Launcher, machines, option_of
from records.model import TestOutcome
from records.writing import check_writable
from reports.progress import ProgressBar
from workloads.dry_run import open_dry_run
from workloads.run import INFRASTRUCTURE, LabRun, Wanted, open_run

LAB: pytest.StashKey[LabRun] = pytest.StashKey()
TARGET: pytest.StashKey[Target] = pytest.StashKey()
REFUSED: pytest.StashKey[int] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("zram writeback lab")
    group.addoption("--device", action="append", default=[], metavar="SERIAL|PROFILE|virtual",
                    help="phone to measure on; repeatable; else $ANDROID_SERIAL, else the virtual phone")  # fmt: skip
    group.addoption("--kernel", action="append", default=[], choices=KERNELS, help="virtual phone's; repeatable, as "
                    "the next two are: every combination is measured and compared with the first")  # fmt: skip
    group.addoption("--arch", action="append", default=[], choices=ARCHS,
                    help="virtual phone's processor; auto: the host's if KVM works here")  # fmt: skip
    group.addoption("--page-size", action="append", default=[], choices=PAGE_SIZES, help="page of its kernel")
    group.addoption("--plan", choices=["quick", "standard", "nightly"], default="quick", help="how much to measure")
    group.addoption("--batch-sizes", metavar="1,8,32",
                    help="sweep.batch_sizes instead of the profile's; what other tests measure with stays")  # fmt: skip
    group.addoption("--repeats", type=int, help="at most so many rounds of the sweep; other tests' repeats stay")
    group.addoption("--precision", metavar="10%", help="to within which share ratios shall be known; ends rounds")
    group.addoption("--budget", metavar="4min|none", help="how long to measure; shared among the tests")
    group.addoption("--seed", type=int, help="seed of every random choice; default: a new one, recorded")
    group.addoption("--dry-run", action="store_true", help="change nothing; print what would be changed, how undone")
    group.addoption("--results", type=Path, metavar="DIR", help="folder for the run's folder; default: results/")


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Find out which phone is meant, before anything else is done; several are a process each."""
    if config.option.help or config.option.version:
        return None
    interrupt_once()
    if not _measures(config):
        return None
    try:
        launch = _launch(config)
        if launch.is_several:
            return launch.run()
        check_writable(launch.results)
        target = resolve_target(next(iter(launch.devices), None), machine=launch.machines[0])
        config.stash[TARGET] = target.planned(
            batch_sizes=number_list("--batch-sizes", config.getoption("--batch-sizes")),
            **{name: config.getoption(f"--{name}") for name in ("plan", "repeats", "precision", "budget")},
        )
    except LabError as error:
        tell(error.for_people())
        return error.exit_status
    given = config.option
    chosen = given.keyword or given.markexpr or given.deselect or any("::" in arg for arg in config.args)
    return (launch.dry_collection() or None) if chosen and not given.collectonly else None


def _launch(config: pytest.Config) -> Launcher:
    return Launcher(
        words=list(map(str, config.invocation_params.args)),
        devices=config.getoption("--device"),
        machines=machines({key: config.getoption(option_of(key)) for key in ("kernel", "arch", "page_size")}),
        seed=config.getoption("--seed"),
        results=config.getoption("--results") or REPO / "results",
        junit=Path(config.option.xmlpath) if config.option.xmlpath else None,
    )


def _measures(config: pytest.Config) -> bool:
    """True when the suites are what runs, not the self-tests."""
    wanted = [Path(str(arg).split("::")[0]).resolve() for arg in config.args]
    return any(path.is_relative_to(REPO / "suites") for path in wanted)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "capability(name): needs a capability of the phone")
    config.addinivalue_line("markers", "kills_apps: an app that the kernel kills for lack of memory is no failure")
    config.addinivalue_line(
        "markers", "changes(what, back, when=F): changed beside zram, and put back; F(stage): whether"
    )
    config.addinivalue_line("markers", "one_measurement: all tests of this function share one measurement")
    config.addinivalue_line("markers", "steps(count=F): F(stage, **parameters) is how many steps the test reports")
    if TARGET not in config.stash:
        # What somebody else's library leaks must not decide how a measurement ended, only how our own tests do.
        config.addinivalue_line("filterwarnings", "error")
        return
    # pytest decides now whether there is a JUnit file; where it goes is known when the run's folder is.
    config.option.xmlpath = None if config.option.dry_run else config.option.xmlpath or os.devnull
    # Before pytest takes its stream: a reader that leaves, or a full disk, must not keep the phone from being put back.
    if sys.stdout is sys.__stdout__:
        sys.stdout = output_like(sys.stdout, 1, drawing=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> bool | None:
    """Open the phone before tests are collected: which points there are depends on it. A refusal collects nothing."""
    config = session.config
    if TARGET not in config.stash or config.option.collectonly:
        return None
    launch = _launch(config)
    seed = secrets.randbelow(2**31) if launch.seed is None else launch.seed
    plan, requested = config.getoption("--plan"), list(config.args)
    wanted = Wanted(config.stash[TARGET], plan, seed, requested, launch.results, command=launch.typed)
    # A terminal of its own: pytest takes descriptor 1 while a test runs.
    progress = ProgressBar(output_like(sys.stdout, os.dup(1), drawing=True))
    try:
        is_dry = config.option.dry_run
        config.stash[LAB] = open_dry_run(wanted, progress, config.add_cleanup) if is_dry else open_run(wanted, progress)
    except LabError as error:
        tell(error.for_people())
        config.stash[REFUSED] = error.exit_status
        return True
    if (writer := _junit_writer(config)) and writer.logfile == os.devnull:
        writer.logfile = str(config.stash[LAB].folder.path / "junit.xml")
    return None


def _junit_writer(config: pytest.Config):  # type: ignore[no-untyped-def]
    """pytest gives its JUnit writer no name; it is the one plugin with a file that it writes at the end."""
    return next((plugin for plugin in config.pluginmanager.get_plugins() if hasattr(plugin, "logfile")), None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: pytest.TestReport = yield  # type: ignore[assignment]
    run = item.config.stash.get(LAB, None)
    if run is not None:
        _note(run, item, call, report)
    return report  # type: ignore[return-value]


def _note(run: LabRun, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, LabError):
        report.longrepr = f"{type(error).__name__}: {error.for_people()}"
    if report.when == "call" and isinstance(error, INFRASTRUCTURE):
        # An error and not a failure, for pytest's summary and in JUnit: nothing was shown about what is tested.
        report.when = "setup"
    elif report.when != "call" and report.passed:
        return
    title = (getattr(item, "function", item).__doc__ or item.name).strip().splitlines()[0]
    reason = "" if report.passed else str(error or report.longrepr)[:2000]
    outcome = "error" if report.failed and report.when != "call" else report.outcome
    stop = run.note(TestOutcome(item.name, title, outcome, reason, report.duration), error)
    item.session.shouldstop = item.session.shouldstop or stop


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Iterator[None]:
    """Innermost of the wrappers: what an interrupted test still holds is torn down while the phone is there."""
    run = session.config.stash.get(LAB, None)
    if run is None:
        yield
        session.exitstatus = session.config.stash.get(REFUSED, session.exitstatus)
        return
    shield()
    try:
        yield
    except Exception as error:  # noqa: BLE001 the phone is put back whatever it is; the run records and tells it
        run.fault(error, "teardown_failed")
    session.exitstatus = run.finish(int(exitstatus))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    run = config.stash.get(LAB, None)
    if run is None or config.option.dry_run:
        return
    from reports.render import render_all

    try:
        if (writer := _junit_writer(config)) and not Path(writer.logfile).is_relative_to(run.folder.path):
            shutil.copyfile(writer.logfile, run.folder.path / "junit.xml")
        rendered = render_all(run.folder.path)
    except (LabError, OSError) as error:
        tell(error.for_people() if isinstance(error, LabError) else str(error))
        return
    told = rendered.text if config.option.verbose > 0 else rendered.screen
    terminalreporter.write_line(f"\n{told}\nreport: {rendered.paths['html']}")
