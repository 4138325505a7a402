"""The virtual phone on the user's adb server: connecting it, asking whether it is up, taking it off again.

The server is never ended; the adb program that adbutils brings along is called only where none listens.
"""

from __future__ import annotations

import ipaddress
from contextlib import suppress

from base.deadline import Deadline
from base.errors import DeviceError, EnvironmentRefused
from devices.adb import AdbTransport, RootStyle
from devices.adb_server import adb_server, ask_server
from devices.connect import check_server
from devices.transport import Exec

_CONNECT_S = 5.0
_ASK_S = 10.0


def require_server() -> None:
    """An adb server on this host, of the version that adbutils speaks; started if none listens.

    Raises EnvironmentRefused. A server on another host could not reach the phone's port on this one's loopback.
    """
    server = adb_server()
    if not _is_loopback(server.host):
        raise EnvironmentRefused(
            f"the adb server is on {server.host}, a virtual phone is reached over this host's own 127.0.0.1",
            hint="Unset ANDROID_ADB_SERVER_HOST for runs on a virtual phone.",
        )
    check_server(server)


def connect(serial: str) -> str:
    """Adds the phone to the server; the server's answer. An entry of an earlier phone on this port is dropped."""
    disconnect(serial)
    try:
        return ask_server(adb_server(), f"host:connect:{serial}", seconds=_CONNECT_S)
    except EnvironmentRefused as error:
        return str(error)


def disconnect(serial: str) -> None:
    """Takes the phone off the server; that it is not there (any more) is fine."""
    with suppress(EnvironmentRefused):  # no server, so it has no entry either
        ask_server(adb_server(), f"host:disconnect:{serial}")


def ask(serial: str, *argv: str, deadline: Deadline | None = None) -> str:
    """A command's output from the phone's shell, without becoming root. Raises DeviceError."""
    transport = AdbTransport(serial, root=RootStyle.none)
    return transport.execute([Exec(argv)], deadline=deadline or Deadline.after(_ASK_S))[0].check().text


def not_ready(serial: str, deadline: Deadline) -> str:
    """Why the phone's shell does not answer yet, or nothing."""
    try:
        booted = ask(serial, "getprop", "sys.boot_completed", deadline=deadline)
    except DeviceError as error:
        return str(error)
    return "" if booted == "1" else f"sys.boot_completed is {booted!r}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
