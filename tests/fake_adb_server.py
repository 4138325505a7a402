"""An adb server on loopback that misbehaves as told. It speaks the server protocol and shell protocol 2 for real."""

from __future__ import annotations

import re
import socket
import socketserver
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from threading import Event, Thread
from typing import Self

_STDOUT, _STDERR, _EXIT = 1, 2, 3


def packet(number: int, data: bytes) -> bytes:
    return bytes([number]) + len(data).to_bytes(4, "little") + data


def token_of(script: str) -> str:
    found = re.search(r"T=(LAB[0-9a-f]+);", script)
    assert found, f"no token in {script!r}"
    return found[1]


def whole_answer(script: str, text: str) -> tuple[bytes, bytes]:
    """Both streams of a script with one operation that printed ``text`` and ended well."""
    token = token_of(script)
    return f"{text}\n{token} 0 0\n".encode(), f"\n{token} 0\n{token} end 1.0 2.0\n".encode()


@contextmanager
def raw_server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port on which every connection is handed to ``serve``, which may do as it likes."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            # Whoever gave up waiting is gone.
            with suppress(OSError, ValueError):
                serve(self.request)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close = True, False
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def next_service(connection: socket.socket) -> str:
    """The next request on a connection, or nothing at its end."""
    size = connection.recv(4, socket.MSG_WAITALL)
    return connection.recv(int(size, 16), socket.MSG_WAITALL).decode() if size else ""


class Reply(Enum):
    """What happens to a connection instead of an answer."""

    close = "close"
    hang = "hang"


# What the phone's shell sends back for a command: raw bytes of the shell protocol, then perhaps a bad end.
Shell = Callable[[str], tuple[bytes, Reply]]


def uid_shell(uid: int) -> Shell:
    """A phone whose every command runs as ``uid`` and which has no su."""

    def answer(command: str) -> tuple[bytes, Reply]:
        if command.startswith("su "):
            refusal = b"/system/bin/sh: su: inaccessible or not found\n"
            return packet(_STDERR, refusal) + packet(_EXIT, b"\x7f"), Reply.close
        out, err = whole_answer(command, str(uid))
        return packet(_STDOUT, out) + packet(_STDERR, err) + packet(_EXIT, b"\0"), Reply.close

    return answer


@dataclass
class AdbServer:
    """``services`` is every service that was asked for, in order."""

    states: Mapping[str, str] = field(default_factory=dict)
    shell: Shell = field(default_factory=lambda: uid_shell(2000))
    version: int = 41
    greeting: bytes | Reply | None = None
    listing: str | None = None
    root_says: str | None = None
    services: list[str] = field(default_factory=list)
    _ended: Event = field(default_factory=Event)

    def __enter__(self) -> Self:
        owner = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                owner._serve(self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def _serve(self, connection: socket.socket) -> None:
        if isinstance(self.greeting, bytes):
            connection.sendall(self.greeting)
            return
        if self.greeting is Reply.hang:
            self._ended.wait(30)
        while self.greeting is None and (size := connection.recv(4)):
            service = connection.recv(int(size, 16), socket.MSG_WAITALL).decode()
            self.services.append(service)
            if not self._answer(connection, service):
                return

    def _answer(self, connection: socket.socket, service: str) -> bool:
        """Whether more may follow on this connection."""
        if service == "host:version":
            connection.sendall(b"OKAY0004" + f"{self.version:04x}".encode())
        elif service == "host:devices":
            lines = "".join(f"{serial}\t{state}\n" for serial, state in self.states.items())
            listing = (lines if self.listing is None else self.listing).encode()
            connection.sendall(b"OKAY" + f"{len(listing):04x}".encode() + listing)
        elif service.removeprefix("host:transport:") in self.states or service.startswith("host:tport:"):
            connection.sendall(b"OKAY")
            if service.startswith("host:tport:"):
                connection.sendall(bytes(8))
            return True
        elif service.startswith("shell,v2,raw:"):
            self._run(connection, service.removeprefix("shell,v2,raw:"))
        elif service == "root:" and self.root_says is not None:
            connection.sendall(b"OKAY" + self.root_says.encode())
        else:
            why = b"adbd cannot run as root in production builds"
            connection.sendall(b"FAIL" + f"{len(why):04x}".encode() + why)
        return False

    def _run(self, connection: socket.socket, command: str) -> None:
        connection.sendall(b"OKAY")
        if command.endswith("exec sh"):
            self._run_scripts(connection)
            return
        # The end of stdin: what is written to a program before that must not be lost.
        connection.recv(5)
        data, then = self.shell(command)
        connection.sendall(data)
        if then is Reply.hang:
            self._ended.wait(30)

    def _run_scripts(self, connection: socket.socket) -> None:
        """A shell that stays open: a packet of its stdin is a script, and marks follow its answer."""
        while header := connection.recv(5, socket.MSG_WAITALL):
            script = connection.recv(int.from_bytes(header[1:], "little"), socket.MSG_WAITALL).decode()
            data, _ = self.shell(script)
            over = f"{token_of(script)} over\n".encode()
            whole = data[: -len(packet(_EXIT, b"\0"))]
            connection.sendall(whole + packet(_STDOUT, over) + packet(_STDERR, over))
