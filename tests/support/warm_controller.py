"""A controller that is back a moment after it was killed: forked from a process that has everything imported.

For tests that kill it again and again; what runs is `dask_gitops.main.main`, in a process of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from tests.support.controller_process import LEADS, ROOT
from tests.support.kubernetes import eventually

# Forks for every line, and says which process it is. Only the pipe belongs to the parent: the log is standard error.
PARENT = """
import os, signal, sys
import dask_gitops.main
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
    """``kill`` it as hard as you like; ``start`` it again; ``stop`` ends the parent too. It has no Lease."""

    def __init__(self, kubeconfig: str, log: Path) -> None:
        self.log = log
        self._file: IO[bytes] = log.open("ab")
        self._begin = 0  # of what the present process says, in the log
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
        self._begin = self.log.stat().st_size
        self._parent.stdin.write(b"\n")
        self._parent.stdin.flush()
        self.pid = int(self._parent.stdout.readline())

    @property
    def leads(self) -> bool:
        """Has the present process begun to act?"""
        with self.log.open("rb") as file:
            file.seek(self._begin)
            said = file.read().decode(errors="replace")
        return self.pid is not None and any(words in said for words in LEADS)

    def wait(self) -> None:
        eventually("the controller acts", lambda: self.leads)

    def kill(self) -> bool:
        """Whether there was a process to kill."""
        pid, self.pid = self.pid, None
        try:
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return pid is not None

    def stop(self) -> None:
        self.kill()
        with self._parent:  # its input ends, and so does it
            assert self._parent.stdin is not None
            self._parent.stdin.close()
        self._file.close()
