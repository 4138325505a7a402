"""Fixtures of the suites: the bench, the points of the sweep, and the watch on the phone's kernel log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from base.errors import CapabilityMissing, DeviceLost, RestoreFailed
from base.paths import REPO
from conftest import LAB, TARGET
from devices.capability import Capability
from devices.clocks import ClockWrong
from devices.kernel_log import MARKER, kernel_news, since_marker
from devices.transport import Exec, Write
from records.model import RunResult
from workloads.apps import conditions
from workloads.bench import Bench, with_caveats
from workloads.budget import Budget, RoundsPlan, weights
from workloads.dry_run import PlannedTest, describe
from workloads.expected import expected_names
from workloads.noise import NoiseWatch
from workloads.run import LabRun
from workloads.stage import Stage
from workloads.writeback import sweep_name, sweeps

# Of a report with its stack; all of it is in kernel.log.
_TOLD_LINES = 40


@pytest.fixture(scope="session")
def lab(pytestconfig: pytest.Config) -> LabRun:
    return pytestconfig.stash[LAB]


@pytest.fixture(scope="session")
def stage(lab: LabRun) -> Stage:
    return lab.stage


@pytest.fixture(scope="session")
def noise(lab: LabRun) -> NoiseWatch:
    return lab.noise_watch()


@pytest.fixture(scope="session")
def budget(request: pytest.FixtureRequest, lab: LabRun) -> Budget:
    """The run's time, for the tests that were selected and in their order."""
    steps = {item.nodeid: (_measured(item), _steps(item, lab.stage)) for item in request.session.items}
    return Budget(lab.profile.budget, weights(steps))


@pytest.fixture(autouse=True)
def needs(request: pytest.FixtureRequest, lab: LabRun) -> None:
    """Skip a test whose capability the phone lacks; if the profile promises it, that is an error."""
    for marker in request.node.iter_markers("capability"):
        wanted = Capability(marker.args[0])
        if wanted in lab.device.capabilities:
            continue
        if wanted in {str(name) for name in lab.profile.must_have}:
            raise CapabilityMissing(f"profile {lab.profile.name} promises {wanted}, the phone does not have it")
        pytest.skip(f"{wanted}: not on this phone")


@pytest.fixture(autouse=True)
def kernel_watch(request: pytest.FixtureRequest, lab: LabRun, needs: None) -> Iterator[None]:
    """A marker in the kernel log per test; a fault behind it fails the test even if its numbers look right."""
    if not lab.kernel_log:
        lab.device.write("/dev/kmsg", f"{MARKER} begin\n")
    yield
    if lab.device.broken_by or lab.lost:
        return
    # The mark for the next test goes in the same trip.
    mark = Write("/dev/kmsg", f"{MARKER} end of {request.node.name}\n")
    lab.kernel_log = lab.device.execute(Exec(("dmesg",)), mark)[0].stdout
    lab.keep_kernel_log(lab.kernel_log)
    kills_expected = request.node.get_closest_marker("kills_apps") is not None
    storage_fails = request.node.get_closest_marker("storage_fails") is not None
    log = since_marker(lab.kernel_log)
    news = kernel_news(log, kills_expected=kills_expected, storage_fails=storage_fails)
    lab.kernel_noted += news.noted
    text = "\n".join(news.text[:_TOLD_LINES])
    assert not news.faults, f"the kernel complained during this test: {list(news.faults[:3])}\n{text}"


@pytest.fixture(autouse=True)
def guarded(lab: LabRun, needs: None) -> None:
    """Let a hot phone cool before the test; raise when its battery is low or it has written its share."""
    lab.phone.guard.before_test()


@pytest.fixture(autouse=True)
def clock_watch(lab: LabRun, guarded: None) -> Iterator[None]:
    """Compare the phone's clock with this computer's around each test: what a wrong clock timed is no figure."""
    lab.phone.clock.check()
    yield
    if not lab.device.broken_by and not lab.lost:
        lab.phone.clock.check()


@pytest.fixture
def bench(
    request: pytest.FixtureRequest, lab: LabRun, stage: Stage, noise: NoiseWatch, budget: Budget, tmp_path: Path
) -> Bench:
    title = (request.function.__doc__ or request.node.name).strip().splitlines()[0]
    lab.progress.test(title)

    def record(result: RunResult) -> None:
        try:
            doubts = [*lab.phone.guard.after_test(), *(["clock_off"] if lab.phone.clock.check(known_for_s=1) else [])]
        except ClockWrong:
            raise  # it is no figure
        except DeviceLost:
            lab.record(result)  # what was measured stays measured
            raise
        lab.record(with_caveats(result, doubts))

    return Bench(
        stage, title, lab.seed, tmp_path, record, lab.folder.save_raw, lab.progress.step, noise=noise,
        rounds=_rounds(request, lab, budget), save_trace=lab.folder.save_trace,
    )  # fmt: skip


def _rounds(request: pytest.FixtureRequest, lab: LabRun, budget: Budget) -> RoundsPlan:
    """Give a test its share of the run's time; tests that share one measurement have theirs together."""
    together = [request.node]
    if request.node.get_closest_marker("one_measurement"):
        together = [item for item in request.session.items if getattr(item, "function", None) is request.function]
    share_s = budget.share_of(*(item.nodeid for item in together))
    return RoundsPlan(precision=lab.profile.precision, budget_s=share_s, since_s=time.monotonic())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test for each sweep, compressor and condition that profile and phone decide on."""
    run = metafunc.config.stash.get(LAB, None)
    for point in {"sweep", "compressor", "condition"} & set(metafunc.fixturenames):
        if run is None:
            names = expected_names(metafunc.config.stash[TARGET], point)
            metafunc.parametrize(point, names, ids=names)
        else:
            points = _points(run, point)
            metafunc.parametrize(point, list(points.values()), ids=list(points))


def _points(run: LabRun, point: str) -> Mapping[str, object]:
    match point:
        case "sweep":
            return {sweep_name(plan.data_bytes, plan.pages, plan.order): plan for plan in sweeps(run.stage)}
        case "compressor":
            return {each.name: each for each in run.compressors()}
        case _:
            return {str(condition): condition for condition in conditions(run.stage)}


@pytest.fixture(scope="session", autouse=True)
def named_in_junit(lab: LabRun, record_testsuite_property: Callable[[str, object], None]) -> None:
    """The JUnit file of a run says which phone it is about."""
    record_testsuite_property("phone", lab.device.serial)


def pytest_runtest_setup(item: pytest.Item) -> None:
    run = item.config.stash.get(LAB, None)
    if run is None:
        return
    item.user_properties.append(("phone", run.device.serial))
    if cause := run.device.broken_by or run.lost:
        raise RestoreFailed(f"phone unusable: {cause}") if run.device.broken_by else DeviceLost(f"phone lost: {cause}")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Bring the tests into the plan's order; those that it leaves out run where they were asked for by name."""
    run = config.stash.get(LAB, None)
    profile = run.profile if run else config.stash[TARGET].profile if TARGET in config.stash else None
    if profile is None:
        return
    order = [str(test) for test in profile.tests]
    if not _named_by_user(config):
        config.hook.pytest_deselected(items=[item for item in items if _measured(item) not in order])
        items[:] = [item for item in items if _measured(item) in order]
    items.sort(key=lambda item: order.index(_measured(item)) if _measured(item) in order else len(order))


def _named_by_user(config: pytest.Config) -> bool:
    """Whether the command line names tests, so that the plan's own choice does not count."""
    given = config.option
    files = [Path(str(arg).split("::")[0]).resolve() for arg in config.args]
    return bool(given.keyword or given.markexpr or any(path != REPO / "suites" for path in files))


def _measured(item: pytest.Item) -> str:
    """What a test measures: its module's name, as a profile's ``tests`` has it."""
    return item.path.stem.removeprefix("test_")


def pytest_collection_finish(session: pytest.Session) -> None:
    run = session.config.stash.get(LAB, None)
    if run is not None and not session.config.option.dry_run:
        run.progress.total(sum(_steps(item, run.stage) for item in session.items))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Print instead of measure what the tests would do to the phone, in a dry run."""
    run = session.config.stash.get(LAB, None)
    if run is None or not session.config.option.dry_run:
        return None
    tests = [_planned(item, run) for item in session.items]
    session.config.get_terminal_writer().line(f"\n{describe(run, tests)}")
    return True


def _planned(item: pytest.Item, run: LabRun) -> PlannedTest:
    function, _, point = item.name.partition("[")
    wanted = {Capability(marker.args[0]) for marker in item.iter_markers("capability")}
    lacks = ", ".join(sorted(wanted - run.device.capabilities))
    markers = item.iter_markers("changes")
    changes = [marker.args for marker in markers if marker.kwargs.get("when", lambda stage: True)(run.stage)]
    return PlannedTest(function, point.removesuffix("]"), _steps(item, run.stage), lacks, changes, _measured(item))


def _steps(item: pytest.Item, stage: Stage) -> int:
    """Return how many steps a test reports: what its marker computes from stage and parameters, else one."""
    marker = item.get_closest_marker("steps")
    callspec = getattr(item, "callspec", None)
    return marker.kwargs["count"](stage, **(callspec.params if callspec else {})) if marker else 1
