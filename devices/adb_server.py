"""The adb server: which one it is, and talk with it, every exchange of it under one total deadline.

Only the adb program, which starts a server where none listens, comes from adbutils. Its own client would not do: its
timeouts are per read, so that a server which sends a byte a second is waited for without end; it leaves sockets open
that were refused; it splits the listing of phones at every blank; and it believes any variable.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from adbutils import AdbError, adb_path

from base.deadline import Deadline
from base.errors import EnvironmentRefused
from base.units import shown

# An adb server answers at once; whatever listens there and says nothing is none.
SERVER_ANSWERS_S = 10.0
_SERVER_STARTS_S = 20.0
_PORTS = range(1, 1 << 16)
_CHUNK_BYTES = 1 << 16
# A peer that vanished without a word is noticed between two packets.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


class Server(Protocol):
    """Where an adb server listens."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """An adb server by host and port."""

    host: str
    port: int


class TalkFailed(Exception):
    """The server refused, or said what no adb server says."""


def adb_server(address: str | None = None) -> ServerAddress:
    """The adb server at ``address`` (HOST:PORT), or else the environment's; started if none listens there.

    Raises EnvironmentRefused for a variable that names no server, and where none can be started.
    """
    host = os.environ.get("ANDROID_ADB_SERVER_HOST") or "127.0.0.1"
    port = os.environ.get("ANDROID_ADB_SERVER_PORT") or "5037"
    if address:
        host, _, port = address.rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) not in _PORTS:
        raise EnvironmentRefused(
            f"ANDROID_ADB_SERVER_PORT={shown(port)} is no port", hint="set it to a number from 1 to 65535, or unset it"
        )
    server = ServerAddress(host, int(port))
    try:
        Talk.begin(server, Deadline.after(SERVER_ANSWERS_S)).close()
    except ConnectionRefusedError as error:
        # On another host, or on ::1, none can be started.
        if host in ("localhost", "127.0.0.1"):
            _start(server, error)
    except OSError:
        pass  # shows, with its reason, at the first request
    return server


def _start(server: ServerAddress, refused: OSError) -> None:
    argv = ["-P", str(server.port), "start-server"]
    try:
        done = subprocess.run(
            [adb_path(), *argv], stdin=subprocess.DEVNULL, capture_output=True, timeout=_SERVER_STARTS_S, check=False
        )
        reason = done.stderr.decode(errors="replace").strip() if done.returncode else ""
    except (AdbError, OSError, subprocess.SubprocessError) as error:
        reason = str(error)
    if reason and not (home := Path(os.environ.get("HOME") or "/")).is_dir():
        raise EnvironmentRefused(
            f"HOME={home}: no folder, and adb, which keeps its keys there, cannot start",
            hint="set HOME to your own folder, or start an adb server and set ANDROID_ADB_SERVER_PORT",
        ) from refused
    if reason:
        raise EnvironmentRefused(
            f"no adb server listens at {server.host}:{server.port}, and none can be started: {reason}",
            hint="install adb (platform-tools), or start a server and set ANDROID_ADB_SERVER_HOST and _PORT",
        ) from refused


def ask_server(server: Server, service: str, *, seconds: float | None = None) -> str:
    """The server's answer to a request of its own (``host:...``).

    Raises EnvironmentRefused when it is refused, or no adb server answers within ``seconds``.
    """
    deadline = Deadline.after(SERVER_ANSWERS_S if seconds is None else seconds)
    try:
        with Talk.begin(server, deadline) as talk:
            talk.request(service, deadline)
            return talk.block(deadline).decode(errors="replace")
    except (OSError, EOFError, TalkFailed) as error:
        reason = f"nothing came within {deadline.seconds:g} s" if isinstance(error, TimeoutError) else error
        raise EnvironmentRefused(
            f"{server.host}:{server.port} does not answer as an adb server: {reason or type(error).__name__}",
            hint="another program on that port, or another host? set ANDROID_ADB_SERVER_HOST and _PORT, or unset them",
        ) from error


def listing(server: Server) -> dict[str, str]:
    """Serial -> state of every phone that the server knows, in its words; the state may hold blanks."""
    lines = ask_server(server, "host:devices").splitlines()
    return {serial.strip(): state.strip() for serial, tab, state in (line.partition("\t") for line in lines) if tab}


class Talk:
    """One connection to an adb server. Raises OSError, with TimeoutError at the deadline, and EOFError at its end."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    @classmethod
    def begin(cls, server: Server, deadline: Deadline) -> Self:
        """Connect to the first of the host's addresses that listens."""
        failure: OSError = OSError(f"{server.host} has no address")
        for family, kind, protocol, _, address in _addresses(server):
            connection = socket.socket(family, kind, protocol)
            try:
                connection.settimeout(max(deadline.left_s, 0.001))
                connection.connect(address)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for option, value in _KEEPALIVE:
                    connection.setsockopt(socket.IPPROTO_TCP, option, value)
            except OSError as error:
                connection.close()
                failure = error
            except BaseException:
                connection.close()
                raise
            else:
                return cls(connection)
        raise failure

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Never raises."""
        with contextlib.suppress(OSError):
            self._connection.close()

    def send(self, data: bytes, deadline: Deadline) -> None:
        self._wait_at_most(deadline)
        self._connection.sendall(data)

    def receive(self, at_most: int, deadline: Deadline) -> bytes:
        """Whatever has come, at least a byte."""
        self._wait_at_most(deadline)
        data = self._connection.recv(min(at_most, _CHUNK_BYTES))
        if not data:
            raise EOFError("the connection closed before the answer was complete")
        return data

    def exactly(self, size: int, deadline: Deadline) -> bytes:
        data = bytearray()
        while len(data) < size:
            data += self.receive(size - len(data), deadline)
        return bytes(data)

    def request(self, service: str, deadline: Deadline) -> None:
        """Raises TalkFailed with the server's words when it refuses."""
        data = service.encode(errors="surrogateescape")
        self.send(f"{len(data):04x}".encode() + data, deadline)
        word = self.exactly(4, deadline)
        if word == b"FAIL":
            raise TalkFailed(self.block(deadline).decode(errors="replace").strip() or "refused without a reason")
        if word != b"OKAY":
            raise TalkFailed(f"{word!r} came instead of OKAY or FAIL")

    def block(self, deadline: Deadline) -> bytes:
        """A text with its length before it, in four hexadecimal digits."""
        size = self.exactly(4, deadline)
        if not re.fullmatch(rb"[0-9a-fA-F]{4}", size):
            raise TalkFailed(f"{size!r} came instead of a length")
        return self.exactly(int(size, 16), deadline)

    def is_quiet(self) -> bool:
        """Say whether the connection stands and nothing has come on it."""
        self._connection.settimeout(0)
        try:
            self._connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def rest(self, at_most: int, deadline: Deadline) -> bytes:
        """What comes until the other side closes, or as much as ``at_most``."""
        data = bytearray()
        with contextlib.suppress(EOFError):
            while len(data) < at_most:
                data += self.receive(at_most - len(data), deadline)
        return bytes(data)

    def _wait_at_most(self, deadline: Deadline) -> None:
        if deadline.expired:
            raise TimeoutError
        self._connection.settimeout(max(deadline.left_s, 0.001))


_Address = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]


def _addresses(server: Server) -> list[_Address]:
    try:
        return list(socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM))
    except UnicodeError as error:
        raise OSError(f"{shown(server.host)} is no host name") from error
