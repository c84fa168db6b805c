"""Accidents on purpose: a server killed and started again on its port, connections cut in mid-request, logins that end."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from instructloop.feedback import logins
from instructloop.feedback.project import Project
from instructloop.testing.server import Person, RunningServer


class Proxy:
    """A TCP relay whose connections can all be cut at once, as when a cable is pulled; with a delay, a remote server."""

    def __init__(self, port: int, *, delay_ms: float = 0) -> None:
        """Listen on a free port of the loopback and relay to ``port``; ``delay_ms`` is added in each direction."""
        self.target = port
        self.delay_s = delay_ms / 1000
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._guard = threading.Lock()
        self._open = True
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def cut(self) -> int:
        """Reset every open connection, in whatever state its request is; returns how many there were."""
        with self._guard:
            pairs = list(self._pairs)
            self._pairs.clear()
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                with contextlib.suppress(OSError):
                    end.close()
        self.cuts += len(pairs)
        return len(pairs)

    def close(self) -> None:
        """End the relay."""
        self._open = False
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while self._open:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            pair = (client, server)
            with self._guard:
                self._pairs.add(pair)
            for source, sink in (pair, pair[::-1]):
                threading.Thread(target=self._relay, args=(source, sink, pair), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, pair: tuple[socket.socket, socket.socket]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self.delay_s:
                    time.sleep(self.delay_s)
                sink.sendall(data)
        with self._guard:
            self._pairs.discard(pair)
        for end in pair:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes the other direction; a close alone would wait for it
            with contextlib.suppress(OSError):
                end.close()


class Phoenix:
    """A labeling server that is killed and rises again at the same address."""

    def __init__(self, project: Project, *, workers: int = 1) -> None:
        """Start it."""
        self.project, self.workers = project, workers
        self.server = RunningServer(project, workers=workers)
        self.port, self.url = self.server.port, self.server.url
        self.kills = 0
        self.output: list[str] = []

    def kill(self) -> None:
        """End it at once, by SIGKILL."""
        self.server.kill()
        self.output += self.server.output
        self.kills += 1

    def rise(self) -> None:
        """Start again on the old port."""
        self.server = RunningServer(self.project, workers=self.workers, port=self.port)

    def stop(self) -> None:
        """End it in peace."""
        self.server.stop()
        self.output += self.server.output


@contextlib.contextmanager
def phoenix(project: Project, *, workers: int = 1) -> Iterator[Phoenix]:
    """A server that can be killed and ends with the block."""
    bird = Phoenix(project, workers=workers)
    try:
        yield bird
    finally:
        bird.stop()


def end_login(project: Project, person: Person) -> None:
    """The person's login expires now."""
    db = project.database()
    try:
        with db.write() as session:
            logins.revoke(session, logins.hashed(person.secret))
    finally:
        db.close()


def fresh_login(project: Project, person: Person) -> str:
    """The person logs in again; returns the new cookie's value."""
    db = project.database()
    try:
        with db.write() as session:
            secret, _ = logins.start(session, person.user_id)
            return secret
    finally:
        db.close()
