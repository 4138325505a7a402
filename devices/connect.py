"""From a serial to a transport that is root, with a clear word for every way in which that can fail."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable

from base.deadline import Deadline
from base.errors import CommandFailed, DeviceLost, EnvironmentRefused
from base.units import shown
from devices.adb import AdbTransport, RootStyle
from devices.adb_server import Server, adb_server, ask_server, listing
from devices.transcript import Transcript
from devices.transport import Exec

_ROOT_ANSWERS_S = 10.0
# What the adb program that adbutils brings along speaks (ADB_SERVER_VERSION); it has been 41 since 2018.
ADB_SERVER_VERSION = 41
_IN_ANDROID = "reboot the phone into Android"
# By the first words of the state; adb adds reasons of its own to some.
_ADVICE = {
    "unauthorized": "unlock the phone and allow USB debugging for this host",
    "authorizing": "unlock the phone and answer whether this host may debug it, or wait a moment",
    "connecting": "wait a moment; if it stays so, unplug the phone and plug it in again",
    "offline": "unplug the phone and plug it in again, or toggle USB debugging",
    "no permissions": "this host's udev rules do not let you use the phone: add yourself to plugdev, plug it in again",
    "detached": "another program let go of the phone: `adb attach`, or plug it in again",
    "host": "this is no phone but another host that runs adb; name a phone that `./lab doctor` lists",
    "recovery": _IN_ANDROID,
    "rescue": _IN_ANDROID,
    "sideload": _IN_ANDROID,
    "bootloader": _IN_ANDROID,
}
_NO_SERIAL = "(no serial number)"
_ROOTED_DEBUGGING = "disabled by system setting"


def attached(server: Server | None = None) -> dict[str, str]:
    """Serial -> state of every phone that the adb server knows. Raises EnvironmentRefused when none answers."""
    return listing(server or adb_server())


def server_version(server: Server | None = None) -> int:
    """What the adb server says; one is started where none listens. Raises EnvironmentRefused when it is none."""
    server = server or adb_server()
    said = ask_server(server, "host:version")
    if not re.fullmatch(r"[0-9a-fA-F]{4}", said):
        raise EnvironmentRefused(
            f"{server.host}:{server.port} does not answer as an adb server: its version is {shown(said)}",
            hint="another program on that port? set ANDROID_ADB_SERVER_PORT",
        )
    return int(said, 16)


def check_server(server: Server) -> None:
    """An adb server of another version is left alone: the adb program would kill it under everybody's feet."""
    version = server_version(server)
    if version != ADB_SERVER_VERSION:
        raise EnvironmentRefused(
            f"the adb server at {server.host}:{server.port} has version {version}, {ADB_SERVER_VERSION} is needed",
            hint="it is left running, others may use it: update that adb, or start one of your own on another port "
            "and set ANDROID_ADB_SERVER_PORT",
        )


def connect(
    serial: str, *, root: str = "auto", transcript: Transcript | None = None, may_restart: bool = True,
    at: str | None = None,
) -> AdbTransport:  # fmt: skip
    """A transport to ``serial`` whose commands are root's; ``may_restart`` allows adbd to be restarted for that.

    ``at`` is the adb server, HOST:PORT; without it the environment's. Raises EnvironmentRefused: not attached, offline,
    unauthorised, no root.
    """
    server = adb_server(at)
    check_server(server)
    states = attached(server)
    if serial not in states:
        others = ", ".join(f"{name} ({state})" for name, state in states.items()) or "none"
        raise EnvironmentRefused(
            f"no phone {serial} on adb; attached: {others}", hint="check the cable; `./lab doctor`"
        )
    if (state := states[serial]) != "device":
        raise EnvironmentRefused(f"phone {serial} is {state}", hint=_advice(state))
    if serial == _NO_SERIAL:
        raise EnvironmentRefused(
            "a phone without a serial number cannot be told from others",
            hint="connect it over the network (`adb tcpip 5555`, `adb connect`); then it has one",
        )
    transport = become_root(
        lambda style: AdbTransport(serial, root=style, transcript=transcript, client=server), root, may_restart
    )
    transport.hold_shell()
    return transport


def _advice(state: str) -> str:
    known = [advice for words, advice in _ADVICE.items() if state.startswith(words)]
    return known[0] if known else "adb does not say more; plug the phone in again, or ask `adb devices -l`"


def become_root(
    make: Callable[[RootStyle], AdbTransport], wish: str = "auto", may_restart: bool = True
) -> AdbTransport:
    """The first root style that answers uid 0.

    ``adb root`` comes last, because it restarts adbd under everybody who uses the phone.
    """
    styles = [RootStyle.adbd, RootStyle.su_c, RootStyle.su_0] if wish == "auto" else [RootStyle(wish)]
    answers: list[str] = []
    for style in styles:
        transport = make(style)
        answers.append(f"{style}: {_uid(transport)}")
        if answers[-1].endswith(": 0"):
            return transport
    if wish in ("auto", "adbd") and not may_restart:
        answers.append("adb root: not tried, since it restarts adbd")
    elif wish in ("auto", "adbd"):
        refusal = _adb_root(make(RootStyle.adbd))
        if not refusal:
            return make(RootStyle.adbd)
        answers.append(f"adb root: {refusal}")
    hint = "root the phone; allow `Shell` in Magisk's or KernelSU's app; the profile's `root:` names the style"
    if _ROOTED_DEBUGGING in answers[-1]:
        hint = "allow it on the phone: Settings, System, Developer options, Rooted debugging (root access: ADB)"
    raise EnvironmentRefused(f"{make(RootStyle.none).serial}: no root ({'; '.join(answers)})", hint=hint)


def _uid(transport: AdbTransport) -> str:
    try:
        result = transport.execute([Exec(("id", "-u"))], deadline=Deadline.after(15))[0]
    except DeviceLost as error:
        return str(error)
    except CommandFailed as error:
        return error.stderr.strip()
    return result.text or result.stderr.strip()


def _adb_root(transport: AdbTransport) -> str:
    """``adb root`` on userdebug builds; nothing when adbd came back as root, else adbd's own words."""
    try:
        answer = transport.service("root:", deadline=Deadline.after(_ROOT_ANSWERS_S))
    except DeviceLost as error:
        return str(error)
    if "restarting" not in answer and "already" not in answer:
        return answer or "no answer"
    deadline = Deadline.after(20)
    said = ""
    while not deadline.expired:
        said = _uid(transport)
        if said == "0":
            return ""
        time.sleep(min(0.5, deadline.left_s))
    return f"{answer}, but then: {said}"


def chosen_serials() -> list[str]:
    """The phone of ANDROID_SERIAL; else nothing: a phone is never picked because it happens to be there."""
    serial = os.environ.get("ANDROID_SERIAL")
    return [serial] if serial else []
