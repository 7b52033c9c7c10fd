"""One server process of ours: started with its log in a file, stopped by its own id, gone when we are gone."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

LOOPBACK = "127.0.0.1"

# Below Linux' ephemeral range, so that no outgoing connection takes the port of a server that is being restarted.
_PORTS = range(20_000, 32_000)


class DidNotStart(Exception):
    """The server did not come up; the message has the end of its log."""


class NotAvailable(Exception):
    """A program that the server needs is not on this machine; the message names it."""


def free_port() -> int:
    """A loopback port that nobody listens on now. Should another process take it first, the server's log says so."""
    for port in random.sample(_PORTS, 200):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            return port
    raise DidNotStart(f"no free port on {LOOPBACK} between {_PORTS.start} and {_PORTS.stop}")


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


class ServerProcess:
    """A child in its own session, so that an interrupt at the terminal reaches us alone and we stop it in order."""

    def __init__(self, command: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=None if env is None else {**os.environ, **env},
            )
        # Reads until we end, however we end, and takes the server along: a killed test run leaves nothing behind.
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r _; kill -9 "$1"', "guard", str(self.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self, timeout_s: float = 30) -> None:
        """Asks it to end, waits, and ends it if it does not."""
        if self.running:
            self.resume()
            self._process.terminate()
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._reap()

    def kill(self) -> None:
        """As a machine that lost its power: no word, no flush."""
        self._process.kill()
        self._reap()

    def pause(self) -> None:
        """Returns once every thread of it stands: until one has taken the signal, and on a busy machine that takes its
        time, the others go on."""
        self._process.send_signal(signal.SIGSTOP)
        while self.running and not self._stands():
            time.sleep(0.001)

    def _stands(self) -> bool:
        states = []
        for stat in Path(f"/proc/{self.pid}/task").glob("*/stat"):
            with contextlib.suppress(OSError):  # a thread that has ended meanwhile
                states.append(stat.read_text().rpartition(")")[2].split()[0])
        return all(state in ("T", "t") for state in states)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _reap(self) -> None:
        self._process.wait()
        self._guard.kill()
        self._guard.wait()
        if self._guard.stdin is not None:
            self._guard.stdin.close()
