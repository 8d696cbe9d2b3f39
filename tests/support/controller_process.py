"""The controller as a process, under the rights that the chart gives its ServiceAccount."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import yaml

from tests.support.kubernetes import Kubectl, eventually

ROOT = Path(__file__).parent.parent.parent
LEADS = ("this process is the leader", "running without a Lease")  # what it says when it begins
LEASE_LOST = "the Lease is lost; the process stops"


class ControllerEnded(Exception):
    """A controller ended for no reason that its test knows. No assertion, so that no look waits for better."""


def service_account_kubeconfig(admin: Kubectl, account: str, target: Path) -> str:
    """A kubeconfig that speaks as this ServiceAccount of the kubectl's namespace."""
    token = admin("create", "token", account, "--duration=2h").strip()
    config = yaml.safe_load(Path(admin.kubeconfig).read_text())
    config["users"] = [{"name": "sa", "user": {"token": token}}]
    for context in config["contexts"]:
        context["context"]["user"] = "sa"
    target.write_text(yaml.safe_dump(config))
    return str(target)


@dataclass
class ControllerProcess:
    """One controller. ``kill`` it as hard as you like; ``start`` it again.

    :ivar within: words before its command, for example of unshare; they must end in an exec.
    """

    kubeconfig: str
    log: Path
    env: dict[str, str] = field(default_factory=dict)
    within: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    _file: IO[bytes] | None = None
    _begin: int = 0  # of what the present process says, in the log

    def start(self, *, wait: bool = True) -> None:
        if self._file is not None:
            self._file.close()
        self._file = self.log.open("ab")
        self._begin = self.log.stat().st_size
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "controller"),
            "KUBECONFIG": self.kubeconfig,
            "DASK_GITOPS_PORT": "0",
            **self.env,
        }
        self.process = subprocess.Popen(
            [*self.within, sys.executable, "-m", "dask_gitops"],
            env=env,
            stdout=self._file,
            stderr=subprocess.STDOUT,
        )
        if wait:
            eventually(
                "the controller runs", lambda: self.alive and "serves" in self.text(), timeout=60
            )

    @property
    def has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    @property
    def alive(self) -> bool:
        """True; an error with its last words when it has ended."""
        if self.process is None or self.has_ended:
            raise ControllerEnded(f"the controller ended:\n{self.text()[-3000:]}")
        return True

    @property
    def leads(self) -> bool:
        """Has it begun to act? An error when it has ended."""
        return self.alive and any(words in self.text() for words in LEADS)

    def restart_if_ended(self) -> None:
        """As the kubelet does after it lost its Lease, as on a busy machine; any other end is an error."""
        if self.has_ended:
            if LEASE_LOST not in self.text():
                raise ControllerEnded(
                    f"the controller ended, and not for its Lease:\n{self.text()[-3000:]}"
                )
            self.start(wait=False)

    def text(self) -> str:
        """What it has said since it was started last; its log holds the lives before, too."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(self._begin)
            return file.read().decode(errors="replace")

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """No goodbye."""
        self.stop(signal.SIGKILL)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 30) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"the controller did not stop within {timeout} s") from None
            finally:
                self.process = None
                if self._file is not None:
                    self._file.close()


def get(url: str) -> tuple[int, str]:
    """Status and text of an HTTP GET, also of refusals."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
