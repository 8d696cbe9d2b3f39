"""A controller that is back a moment after it was killed: forked from a process that has everything imported.

For tests that kill it dozens of times; what runs is `dask_gitops.main.main`, in a process of its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from tests.support.controller_process import ROOT
from tests.support.kubernetes import eventually

# Forks for every line, and says which process it is. Only the pipe belongs to the parent: the log is standard error.
PARENT = """
import os, signal, sys
import dask_gitops.main, kubernetes.client, kubernetes.config
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(2, 1)
        os.close(0)
        dask_gitops.main.main()
        os._exit(0)
    print(pid, flush=True)
"""


class WarmController:
    """``kill`` it as hard as you like; ``start`` it again; ``stop`` ends the parent too."""

    def __init__(self, kubeconfig: str, log: Path) -> None:
        self.log = log
        self._file: IO[bytes] = log.open("ab")
        self._parent = subprocess.Popen(
            [sys.executable, "-c", PARENT],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT / "controller"),
                "KUBECONFIG": kubeconfig,
                "DASK_GITOPS_PORT": "0",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._file,
        )
        self.pid: int | None = None

    def start(self) -> None:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(b"\n")
        self._parent.stdin.flush()
        self.pid = int(self._parent.stdout.readline())

    def wait(self) -> None:
        eventually("the controller runs", lambda: "serves" in self.log.read_text())

    def kill(self) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.pid = None

    def stop(self) -> None:
        self.kill()
        with self._parent:  # its input ends, and so does it
            assert self._parent.stdin is not None
            self._parent.stdin.close()
        self._file.close()
