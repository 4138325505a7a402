"""Apps on the virtual phone: real processes in cgroups, frozen, compacted and killed, told of in Android's formats."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from base.deadline import Deadline, wait_until
from base.units import MIB
from devices.adb import AdbTransport
from devices.transport import CommandResult, Exec

pytestmark = pytest.mark.phone

APPS = (
    *("bank", "browser", "camera", "chat", "game", "mail", "maps"),
    *("music", "news", "notes", "shop", "social", "video", "weather"),
)


@dataclass
class Apps:
    """The phone's apps, by the last part of their package's name."""

    transport: AdbTransport

    def run(self, script: str, *, seconds: float = 60) -> CommandResult:
        return self.transport.execute([Exec(("sh", "-c", script))], deadline=Deadline.after(seconds))[0]

    def out(self, script: str) -> str:
        return self.run(script).check().text

    def start(self, name: str, *options: str) -> list[str]:
        return self.out(f"am start {' '.join(options)} -W -n com.zramlab.{name}/.MainActivity").splitlines()

    def pid(self, name: str) -> int:
        """0 for an app that does not run."""
        return int(self.run(f"pidof com.zramlab.{name}").stdout or 0)

    def status_kib(self, name: str, field: str) -> int:
        found = re.search(rf"{field}:\s*(\d+) kB", self.out(f"cat /proc/$(pidof com.zramlab.{name})/status"))
        assert found
        return int(found[1])

    def adj(self, *names: str) -> list[int]:
        script = "; ".join(f"cat /proc/$(pidof com.zramlab.{name})/oom_score_adj" for name in names)
        return [int(line) for line in self.out(script).splitlines()]

    def cgroup(self, name: str, file: str) -> str:
        where = f"/sys/fs/cgroup$(sed s/0::// /proc/$(pidof com.zramlab.{name})/cgroup)"
        return self.out(f"cat {where}/{file}")

    def events(self, *options: str) -> list[str]:
        """Without the divider, which is checked here."""
        divider, *lines = self.out(f"logcat -b events -d {' '.join(options)}").splitlines()
        assert divider == "--------- beginning of events"
        return lines


@pytest.fixture
def apps(transport: AdbTransport) -> Iterator[Apps]:
    """No app runs, before and after; nothing is frozen unless a test asks for it."""
    apps = Apps(transport)
    stop_all = "; ".join(f"am force-stop com.zramlab.{name}" for name in (*APPS, "broken"))
    apps.out(f"{stop_all}; logcat -b events -c; setprop debug.lab.freeze_after_s 600")
    yield apps
    apps.out(f"{stop_all}; setprop debug.lab.freeze_after_s ''")


def number(lines: list[str], key: str) -> int:
    (line,) = [line for line in lines if line.startswith(f"{key}: ")]
    return int(line.split()[1])


def test_a_cold_start_a_hot_one_and_one_that_is_in_front(apps: Apps) -> None:
    component = "com.zramlab.music/.MainActivity"
    cold = apps.start("music")
    assert cold[:4] == [
        f"Starting: Intent {{ cmp={component} }}", "Status: ok", "LaunchState: COLD", f"Activity: {component}",
    ]  # fmt: skip
    assert [line.split(":")[0] for line in cold[4:]] == ["TotalTime", "WaitTime", "Complete"]
    assert 0 < number(cold, "TotalTime") <= number(cold, "WaitTime")
    top = apps.start("music")
    delivered = "Warning: Activity not started, intent has been delivered to currently running top-most instance."
    assert top[1:5] == [delivered, "Status: ok", "LaunchState: UNKNOWN (0)", f"Activity: {component}"]
    pid = apps.pid("music")
    apps.out("input keyevent KEYCODE_HOME")
    hot = apps.start("music")
    brought = "Warning: Activity not started, its current task has been brought to the front"
    assert hot[1:4] == [brought, "Status: ok", "LaunchState: HOT"]
    assert number(hot, "TotalTime") > 0
    assert apps.pid("music") == pid
    again = apps.start("music", "-S", "--user 0")
    assert (again[0], "LaunchState: COLD" in again) == ("Stopping: com.zramlab.music", True)
    assert apps.pid("music") not in (0, pid)


def test_an_apps_memory_is_in_its_own_cgroup_and_its_names_are_androids(apps: Apps) -> None:
    apps.start("notes")
    pid = apps.pid("notes")
    assert apps.out(f"cat /proc/{pid}/cgroup") == f"0::/apps/uid_10110/pid_{pid}"
    assert int(apps.cgroup("notes", "memory.current")) >= 32 * MIB
    assert apps.status_kib("notes", "RssAnon") >= 32 * 1024
    assert apps.status_kib("notes", "RssFile") >= 4 * 1024
    assert apps.out(f"cat /proc/{pid}/comm") == "m.zramlab.notes"
    assert apps.out(f"cat /proc/{pid}/cmdline") == "com.zramlab.notes\0"
    assert apps.out(f"ps -o USER,NAME -p {pid}").split() == ["USER", "NAME", "u0_a110", "com.zramlab.notes"]
    assert apps.out("stat -c %s /data/app/com.zramlab.notes/base.apk") == str(4 * MIB)


def test_the_longer_an_app_is_not_used_the_higher_its_adj(apps: Apps) -> None:
    for name in ("music", "notes", "weather"):
        apps.start(name)
    assert apps.adj("weather", "notes", "music") == [0, 700, 900]
    apps.out("am start -a android.intent.action.MAIN -c android.intent.category.HOME")
    assert apps.adj("weather", "notes", "music") == [700, 900, 905]
    apps.start("music")
    assert apps.adj("weather", "notes", "music") == [700, 900, 0]
    assert "topResumedActivity=ActivityRecord{1 u0 com.zramlab.music/.MainActivity t1}" in apps.out(
        "dumpsys activity activities"
    )


def test_a_background_app_is_frozen_and_compacted_and_faults_its_working_set_in_again(apps: Apps) -> None:
    apps.start("notes")
    before = [apps.status_kib("notes", field) for field in ("RssAnon", "VmSwap")]
    apps.out("input keyevent 3; setprop debug.lab.freeze_after_s 1")
    wait_until("compaction", lambda: apps.status_kib("notes", "VmSwap") > 30 * 1024, Deadline.after(15))
    assert before[0] > 30 * 1024 > before[1]
    assert apps.cgroup("notes", "cgroup.events") == "populated 1\nfrozen 1"
    faults = f"cut -d ' ' -f 12 /proc/{apps.pid('notes')}/stat"
    major = int(apps.out(faults))
    hot = apps.start("notes")
    # 12 MiB of anonymous memory, page by page: it was the app that touched them, and they came from zram.
    assert int(apps.out(faults)) - major > 12 * 256 * 0.9
    assert number(hot, "TotalTime") > 0
    assert apps.cgroup("notes", "cgroup.freeze") == "0"
    assert 12 * 1024 <= apps.status_kib("notes", "RssAnon") < 20 * 1024
    tags = [line.split()[4] for line in apps.events("-v epoch", "-s am_freeze am_unfreeze")]
    assert tags == ["am_freeze:", "am_unfreeze:"]


def test_pressure_makes_lmkd_kill_what_was_used_longest_ago(apps: Apps) -> None:
    for name in APPS:
        apps.start(name)
        if killed := apps.events("-v epoch", "-s killinfo"):
            break
    info = [int(field) for field in re.findall(r"\[(.*)\]", killed[0])[0].split(",")[:33]]
    pid, uid, adj, min_adj, rss_kib, reason = info[:6]
    # The app in front has 0, the one before it 700, then 900, 905, ...; it may have died just before this start.
    assert adj - 900 in {5 * (APPS.index(name) - 2), 5 * (APPS.index(name) - 3)}
    assert (uid, min_adj in {0, 201}) == (10107, True)
    assert 0 <= rss_kib < 60 * 1024
    assert 0 <= reason <= 9
    (am_kill,) = [line for line in apps.events("-v epoch", "-s am_kill") if f",{pid}," in line]
    assert f"am_kill : [0,{pid},com.zramlab.bank,{adj}," in am_kill
    wait_until("its end", lambda: apps.events("-s am_proc_died") != [], Deadline.after(5))
    assert f"am_proc_died: [0,{pid},com.zramlab.bank," in apps.events("-s am_proc_died")[0]
    assert apps.pid("bank") == 0
    assert apps.pid(name) != 0
    said = apps.out("dumpsys activity exit-info com.zramlab.bank")
    assert f"pid={pid} realUid={uid} " in said
    assert "process=com.zramlab.bank reason=3 (LOW_MEMORY) subreason=0 (UNKNOWN) status=9\n" in said


@pytest.mark.parametrize(
    ("component", "answer"),
    [
        ("com.zramlab.keyboard/.Main", ["Error type 3", "com.zramlab.keyboard/com.zramlab.keyboard.Main"]),
        ("com.zramlab.none/a.b.Main", ["Error type 3", "com.zramlab.none/a.b.Main"]),
    ],
)
def test_what_is_not_there_is_not_started(apps: Apps, component: str, answer: list[str]) -> None:
    done = apps.run(f"am start -W -n {component}")
    assert done.status == 1
    assert done.stdout.splitlines()[1:] == [answer[0], f"Error: Activity class {{{answer[1]}}} does not exist."]
    quiet = apps.run(f"am start -n {component}")
    assert (quiet.stdout.count("\n"), quiet.stderr.splitlines()[0]) == (1, "Error type 3")


def test_an_app_that_crashes_at_start_has_no_time_and_no_process(apps: Apps) -> None:
    said = apps.start("broken")
    assert said[1:4] == ["Status: ok", "LaunchState: UNKNOWN (0)", "Activity: com.zramlab.broken/.MainActivity"]
    assert [line.split(":")[0] for line in said[4:]] == ["WaitTime", "Complete"]
    assert apps.pid("broken") == 0
    assert "reason=5 (APP CRASH(NATIVE))" in apps.out("dumpsys activity exit-info com.zramlab.broken")


@pytest.mark.parametrize("options", ["-n nothing", "-W --nonsense", "-n"])
def test_bad_options_of_am_are_an_exception(apps: Apps, options: str) -> None:
    done = apps.run(f"am start {options}")
    assert done.status == 255
    assert done.stderr.startswith("\nException occurred while executing 'start':\njava.lang.IllegalArgumentException: ")


def test_kill_spares_the_app_in_front_and_force_stop_does_not(apps: Apps) -> None:
    apps.start("notes")
    apps.start("music")
    apps.out("am kill com.zramlab.music; am kill com.zramlab.notes; am kill com.zramlab.none")
    assert (apps.pid("music") != 0, apps.pid("notes")) == (True, 0)
    pid = apps.pid("music")
    apps.out("am force-stop --user 0 com.zramlab.music")
    assert apps.pid("music") == 0
    killed = re.findall(r"I am_kill : \[(.*)\]", "\n".join(apps.events("-v threadtime")))
    assert re.fullmatch(r"0,\d+,com\.zramlab\.notes,700,kill background,\d+", killed[0])
    assert re.fullmatch(rf"0,{pid},com\.zramlab\.music,0,stop com\.zramlab\.music due to from pid \d+,\d+", killed[1])


def test_events_come_in_logcats_formats(apps: Apps) -> None:
    apps.start("notes")
    apps.out("am force-stop com.zramlab.notes")
    server = apps.out("pidof system_server")
    assert len(apps.events()) == 3
    thread = rf"\d\d-\d\d \d\d:\d\d:\d\d\.\d{{3}} {server:>5} {server:>5} I am_kill : \[0,.*\]"
    assert re.fullmatch(thread, apps.events("-s am_kill")[0])
    (died,) = apps.events("-v epoch", "am_proc_died:I", "'*:S'")
    found = re.fullmatch(r"         (\d{10}\.\d{3}) .* I am_proc_died: \[0,\d+,com\.zramlab\.notes,0,2\]", died)
    assert found
    assert apps.events("-v epoch", f"-T {found[1]}") == [died]
    assert re.fullmatch(rf"I/am_proc_died\( *{server}\): \[.*\]", apps.events("-v brief", "-t 1")[0])
    apps.out("logcat -b events -c")
    assert apps.events() == []


def test_packages_are_listed_and_resolved(apps: Apps) -> None:
    assert "package:com.zramlab.mail uid:10108" in apps.out("pm list packages -3 -U").splitlines()
    assert apps.out("pm list packages chat") == "package:com.zramlab.chat"
    brief = apps.out("cmd package resolve-activity --brief com.zramlab.chat").splitlines()
    assert (brief[0].split()[0], brief[1:]) == ("priority=0", ["com.zramlab.chat/.MainActivity"])
    for name in ("com.zramlab.keyboard", "com.zramlab.none"):
        assert apps.out(f"cmd package resolve-activity --brief {name}") == "No activity found"
    launchable = (
        "cmd package query-activities --brief -a android.intent.action.MAIN -c android.intent.category.LAUNCHER"
    )
    assert apps.out(launchable).splitlines()[0] == "15 activities found:"
    assert apps.out(launchable).count("/.MainActivity") == 15


def test_mmd_is_a_service_that_is_started_and_stopped(apps: Apps) -> None:
    assert apps.run("pidof mmd").stdout == ""
    apps.out("start mmd")
    assert apps.out("getprop init.svc.mmd; ps -o NAME -p $(pidof mmd)").split() == ["running", "NAME", "mmd"]
    apps.out("setprop ctl.stop mmd")
    assert apps.out("getprop init.svc.mmd") == "stopped"
    assert apps.run("pidof mmd").stdout == ""
    assert apps.run("stop nothing").status == 1


def test_the_zram_writeback_job_is_there_when_asked_for(apps: Apps) -> None:
    missing = apps.run("cmd jobscheduler run -f android 812")
    assert (missing.status, missing.stderr) == (23, "Could not find job 812 in package android / user 0\n")
    apps.out("setprop persist.lab.zram_writeback_job 1")
    try:
        assert apps.out("cmd jobscheduler get-job-state android 812") == "waiting"
    finally:
        apps.out("setprop persist.lab.zram_writeback_job 0")


def test_the_keyguard_and_the_screen_are_as_they_are_set(apps: Apps) -> None:
    showing = "dumpsys window | grep isKeyguardShowing"
    assert apps.out(f"setprop debug.lab.keyguard 1; {showing}") == "  isKeyguardShowing=true"
    assert apps.out(f"wm dismiss-keyguard; {showing}") == "  isKeyguardShowing=false"
    awake = "dumpsys power | grep mWakefulness="
    assert apps.out(f"input keyevent KEYCODE_SLEEP; {awake}") == "  mWakefulness=Asleep"
    assert apps.out(f"input keyevent 224; {awake}") == "  mWakefulness=Awake"


def test_device_config_keeps_flags(apps: Apps) -> None:
    flag = "activity_manager lab_flag"
    assert apps.out(f"device_config put {flag} 5; device_config get {flag}") == "5"
    assert "lab_flag=5" in apps.out("device_config list activity_manager").splitlines()
    assert apps.out(f"device_config delete {flag}") == "Successfully deleted lab_flag from activity_manager"
    assert apps.out(f"device_config get {flag}") == "null"


def test_looking_after_the_apps_costs_next_to_nothing(apps: Apps) -> None:
    apps.start("notes")
    apps.out("input keyevent 3; am freeze com.zramlab.notes")
    ticks = "for p in $(pidof system_server lmkd); do cut -d ' ' -f 14,15 /proc/$p/stat; done"
    before, after = apps.out(f"{ticks}; echo -; sleep 4; {ticks}").split("-")
    spent = sum(int(word) for word in after.split()) - sum(int(word) for word in before.split())
    assert spent <= 4  # hundredths of a second in 4 s: 1 %
