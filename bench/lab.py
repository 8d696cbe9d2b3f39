"""What is measured on: a control plane with fake nodes, and the controller as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import ROOT

INSTANCE = "bench"
NODES = 2  # of 2,000 pods each
STATE = ROOT / "build" / "bench"
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Failure(Exception):
    """Something did not work; the message says what. A missed target is no failure."""


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


# ---- the control plane


@contextlib.contextmanager
def control_plane(*, keep: bool) -> Iterator[Lab]:
    """A fresh one; it goes away at the end, whatever happens.

    :param keep: use the one that runs, and leave it running.
    """
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure("another benchmark runs in this tree") from None
        _end_leftover()
        if not keep:
            _kubernetes("down", "--name", INSTANCE)
        try:
            say("starting a control plane")
            # Loopback addresses, so that one local server can answer as all schedulers.
            fake = ("--kwok-nodes", str(NODES), "--kwok-cidr", "127.64.0.0/12")
            _kubernetes("up", "--name", INSTANCE, "--no-node", *fake)
            lab = Lab(_environment())
            lab.kubectl_now("apply", "-f", str(ROOT / "charts/crds/crds"))
            lab.kubectl_now("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
            yield lab
        finally:
            if not keep:
                say("stopping the control plane")
                _kubernetes("down", "--name", INSTANCE)


def _kubernetes(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "ci/kubernetes"), *words], capture_output=True, text=True
    )
    if done.returncode:
        raise Failure(f"ci/kubernetes {' '.join(words)}:\n{done.stderr[-2000:]}")
    return done.stdout


def _environment() -> dict[str, str]:
    """KUBECONFIG and PATH as ``ci/kubernetes env`` gives them."""
    script = f'{_kubernetes("env", "--name", INSTANCE)}\nprintf "%s\\n" "$KUBECONFIG" "$PATH"'
    lines = subprocess.check_output(["sh", "-c", script], text=True).splitlines()
    return {**os.environ, "KUBECONFIG": lines[0], "PATH": lines[1], "NO_PROXY": "*"}


def _end_leftover() -> None:
    """A controller that outlived a crashed run."""
    file = STATE / "controller.pid"
    with contextlib.suppress(OSError, ValueError):
        pid = int(file.read_text())
        if b"dask_gitops" in Path(f"/proc/{pid}/cmdline").read_bytes():
            say(f"ending a controller that an earlier run left behind (pid {pid})")
            os.kill(pid, signal.SIGKILL)
    file.unlink(missing_ok=True)


@dataclass(frozen=True)
class Lab:
    """:ivar env: environment in which kubectl and the controller find the control plane."""

    env: dict[str, str]

    @property
    def kubeconfig(self) -> str:
        return self.env["KUBECONFIG"]

    @property
    def audit_log(self) -> Path:
        return Path(self.kubeconfig).parent / "audit.log"

    def kubectl_now(self, *words: str) -> str:
        done = subprocess.run(["kubectl", *words], env=self.env, capture_output=True, text=True)
        if done.returncode:
            raise Failure(f"kubectl {shlex.join(words)}: {done.stderr.strip()[-1000:]}")
        return done.stdout

    async def kubectl(self, *words: str, stdin: str = "") -> None:
        process = await asyncio.create_subprocess_exec(
            *("kubectl", *words),
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        _, errors = await process.communicate(stdin.encode())
        if process.returncode:
            raise Failure(f"kubectl {shlex.join(words)}: {errors.decode().strip()[-1000:]}")

    def audit(self) -> Audit:
        return Audit(self.audit_log, self.audit_log.stat().st_size)


# ---- what the API server saw


@dataclass(frozen=True)
class Audit:
    """The API server's audit log from a certain moment on."""

    file: Path
    offset: int

    def requests(self) -> Counter[str]:
        """The controller's requests since then as "verb resource", each at its answer; refused ones with their code."""
        found: Counter[str] = Counter()
        with self.file.open("rb") as lines:
            lines.seek(self.offset)
            for line in lines:
                if b"dask-gitops/" not in line or not line.endswith(b"\n"):
                    continue
                event: dict[str, Any] = json.loads(line)
                # A watch is written down when it begins and once more when it ends.
                if not event["userAgent"].startswith("dask-gitops/") or (
                    event["verb"] == "watch" and event["stage"] == "ResponseComplete"
                ):
                    continue
                what = event["objectRef"]["resource"]
                if event["objectRef"].get("subresource"):
                    what += "/" + event["objectRef"]["subresource"]
                code = event["responseStatus"]["code"]
                found[f"{event['verb']} {what}" + (f" {code}" if code >= 400 else "")] += 1
        return found


# ---- the controller


class Controller:
    """A running controller process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self) -> float:
        """Resident memory now, in MiB."""
        return int(self._proc("statm").split()[1]) * PAGE / 2**20

    def _proc(self, file: str) -> str:
        try:
            return Path(f"/proc/{self.process.pid}/{file}").read_text()
        except OSError:
            raise Failure(f"the controller died; see {STATE / 'controller.log'}") from None


@contextlib.asynccontextmanager
async def controller(lab: Lab) -> AsyncIterator[Controller]:
    """Start it, wait until it leads, stop it at the end."""
    log = STATE / "controller.log"
    env = {
        **lab.env,
        "PYTHONPATH": str(ROOT / "controller"),
        "DASK_GITOPS_PORT": "0",
        "DASK_GITOPS_LEASE_NAMESPACE": "default",
        "DASK_GITOPS_LEASE_NAME": f"bench-{datetime.now():%H%M%S}",  # no waiting for a dead holder
    }
    with log.open("ab") as output:
        begin = output.tell()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "dask_gitops"),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    (STATE / "controller.pid").write_text(str(process.pid))
    try:
        deadline = time.monotonic() + 60
        while b"this process is the leader" not in log.read_bytes()[begin:]:
            if process.returncode is not None or time.monotonic() > deadline:
                raise Failure(f"the controller did not start; see {log}")
            await asyncio.sleep(0.1)
        yield Controller(process)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 20)
            except TimeoutError:
                process.kill()
                await process.wait()
        (STATE / "controller.pid").unlink(missing_ok=True)
        await lab.kubectl("delete", "lease", env["DASK_GITOPS_LEASE_NAME"], "--ignore-not-found")
