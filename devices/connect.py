"""From a serial to a transport that is root, with a clear word for every way in which that can fail."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from adbutils import AdbClient, AdbError

from base.deadline import Deadline
from base.errors import CommandFailed, DeviceLost, EnvironmentRefused
from devices.adb import AdbTransport, RootStyle, server_client
from devices.transcript import Transcript
from devices.transport import Exec

# What the adb program that adbutils brings along speaks (ADB_SERVER_VERSION); it has been 41 since 2018.
ADB_SERVER_VERSION = 41
_ADVICE = {
    "unauthorized": "unlock the phone and allow USB debugging for this host",
    "offline": "unplug the phone and plug it in again, or toggle USB debugging",
    "no permissions": "this host's udev rules do not let you use the phone: add yourself to plugdev, plug it in again",
    "recovery": "reboot the phone into Android",
    "sideload": "reboot the phone into Android",
    "bootloader": "reboot the phone into Android",
}


def attached(client: AdbClient | None = None) -> dict[str, str]:
    """Serial -> state of every phone that the adb server knows."""
    try:
        return {info.serial: info.state for info in (client or server_client()).list()}
    except (AdbError, OSError, ValueError) as error:
        raise EnvironmentRefused(
            f"no adb server answers: {error}", hint="`adb start-server`; ANDROID_ADB_SERVER_HOST and _PORT are honoured"
        ) from error


def server_version(client: AdbClient | None = None) -> int:
    """What the adb server says; one is started where none listens. Raises EnvironmentRefused when it is none."""
    client = client or server_client()
    try:
        return int(client.server_version())
    except (AdbError, OSError, ValueError) as error:
        raise EnvironmentRefused(
            f"{client.host}:{client.port} does not answer as an adb server: {error}",
            hint="another program on that port? set ANDROID_ADB_SERVER_PORT",
        ) from error


def check_server(client: AdbClient) -> None:
    """An adb server of another version is left alone: the adb program would kill it under everybody's feet."""
    version = server_version(client)
    if version != ADB_SERVER_VERSION:
        raise EnvironmentRefused(
            f"the adb server at {client.host}:{client.port} has version {version}, {ADB_SERVER_VERSION} is needed",
            hint="it is left running, others may use it: update that adb, or start one of your own on another port "
            "and set ANDROID_ADB_SERVER_PORT",
        )


def connect(serial: str, *, root: str = "auto", transcript: Transcript | None = None) -> AdbTransport:
    """A transport to ``serial`` whose commands are root's.

    Raises EnvironmentRefused: not attached, offline, unauthorised, no root.
    """
    client = server_client()
    check_server(client)
    states = attached(client)
    if serial not in states:
        listing = ", ".join(f"{name} ({state})" for name, state in states.items()) or "none"
        raise EnvironmentRefused(
            f"no phone {serial} on adb; attached: {listing}", hint="check the cable; `./lab doctor`"
        )
    if (state := states[serial]) != "device":
        raise EnvironmentRefused(f"phone {serial} is {state}", hint=_ADVICE.get(state, "`./lab doctor` says more"))
    return become_root(lambda style: AdbTransport(serial, root=style, transcript=transcript, client=client), root)


def become_root(make: Callable[[RootStyle], AdbTransport], wish: str = "auto") -> AdbTransport:
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
    if wish in ("auto", "adbd") and _adb_root(make(RootStyle.adbd)):
        return make(RootStyle.adbd)
    raise EnvironmentRefused(
        f"{make(RootStyle.none).serial}: no root ({'; '.join(answers)})",
        hint="root the phone; allow `Shell` in Magisk's or KernelSU's app; the profile's `root:` names the style",
    )


def _uid(transport: AdbTransport) -> str:
    try:
        result = transport.execute([Exec(("id", "-u"))], deadline=Deadline.after(15))[0]
    except DeviceLost as error:
        return str(error)
    except CommandFailed as error:
        return error.stderr.strip()
    return result.text or result.stderr.strip()


def _adb_root(transport: AdbTransport) -> bool:
    """``adb root`` on userdebug builds; True when adbd came back as root."""
    try:
        answer = server_client().device(transport.serial).root()
    except (AdbError, OSError, EOFError):
        return False
    if "restarting" not in answer and "already" not in answer:
        return False
    deadline = Deadline.after(20)
    while not deadline.expired:
        if _uid(transport) == "0":
            return True
        time.sleep(0.5)
    return False


def chosen_serials() -> list[str]:
    """The phone of ANDROID_SERIAL; else nothing: a phone is never picked because it happens to be there."""
    serial = os.environ.get("ANDROID_SERIAL")
    return [serial] if serial else []
