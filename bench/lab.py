"""What is measured on: control planes started anew, with fake nodes or with the machine's real one."""

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
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import ROOT
from bench.clock import Clock

FAKE, REAL = "bench", "bench-node"  # instances of ci/kubernetes
NODES = 2  # of 2,000 pods each
STATE = ROOT / "build" / "bench"
QUIET_S = 15.0  # after that, what ci/kubernetes is doing is told
DASK_IMAGE = "dask-gitops-dask"


class Failure(Exception):
    """Something did not work; the message says what. A missed target is no failure."""


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One benchmark in this tree; nothing of a crashed one is left."""
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure("another benchmark runs in this tree; wait for its end") from None
        _end_leftovers()
        for name in (FAKE, REAL):
            kubernetes("down", "--name", name)
        yield


def _end_leftovers() -> None:
    """Controllers that outlived a crashed run."""
    for file in STATE.glob("*.pid"):
        with contextlib.suppress(OSError, ValueError):
            pid, command = int(file.read_text()), b""
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"dask_gitops" in command or b"dask_kubernetes" in command:
                say(f"ending a controller that an earlier run left behind (pid {pid})")
                os.kill(pid, signal.SIGKILL)
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def control_plane(clock: Clock, crds: Path, *, node: bool = False) -> Iterator[Lab]:
    """A fresh one with these definitions; it goes away at the end, whatever happens.

    :param node: with the machine's real node, of which there is one, instead of fake ones.
    """
    name = REAL if node else FAKE
    # Loopback addresses, so that one local server can answer as all schedulers.
    fake = ("--no-node", "--kwok-nodes", str(NODES), "--kwok-cidr", "127.64.0.0/12")
    try:
        kubernetes("up", "--name", name, *(("--node",) if node else fake))
        lab = Lab(name, _environment(name))
        rows = json.loads(kubernetes("status", "--name", name, "--json"))["components"]
        with clock.daemons([int(row["pid"]) for row in rows]):
            # The existing operator's are too big for the annotation of a client-side apply.
            lab.kubectl_now("apply", "--server-side", "-f", str(crds))
            lab.kubectl_now("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
            yield lab
    finally:
        kubernetes("down", "--name", name)


def kubernetes(*words: str) -> str:
    """Output of ci/kubernetes; its progress is shown only when it takes long, as a first build does."""
    command = [sys.executable, str(ROOT / "ci/kubernetes"), *words]
    last: deque[str] = deque(maxlen=40)
    quiet_until = time.monotonic() + QUIET_S
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stderr:
            last.append(line)
            if time.monotonic() > quiet_until:
                print(f"          {line}", end="", file=sys.stderr, flush=True)
        output = process.stdout.read()
    # `status` ends with 1 where something is not well, and says in its output what.
    if process.returncode and words[0] != "status":
        raise Failure(f"ci/kubernetes {shlex.join(words)}:\n{''.join(last).rstrip()}")
    return output


def _environment(name: str) -> dict[str, str]:
    """KUBECONFIG and PATH as ``ci/kubernetes env`` gives them."""
    script = f'{kubernetes("env", "--name", name)}\nprintf "%s\\n" "$KUBECONFIG" "$PATH"'
    lines = subprocess.check_output(["sh", "-c", script], text=True).splitlines()
    return {**os.environ, "KUBECONFIG": lines[0], "PATH": lines[1], "NO_PROXY": "*"}


@dataclass(frozen=True)
class Lab:
    """:ivar env: environment in which kubectl and a controller find the control plane."""

    name: str
    env: dict[str, str]

    @property
    def kubeconfig(self) -> str:
        return self.env["KUBECONFIG"]

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

    def audit(self, agents: Sequence[str]) -> Audit:
        """What they ask of the API server from now on."""
        log = Path(self.kubeconfig).parent / "audit.log"
        return Audit(log, log.stat().st_size, tuple(agents))

    def dask_image(self) -> str:
        """Dask's image, on the real node."""
        told = kubernetes("images", "--name", self.name, "--json", DASK_IMAGE)
        return str(json.loads(told)[DASK_IMAGE])

    def version(self) -> str:
        """Of the API server."""
        told = json.loads(self.kubectl_now("version", "-o", "json"))
        return str(told["serverVersion"]["gitVersion"])


@dataclass(frozen=True)
class Audit:
    """The API server's audit log from a certain moment on, for one contestant."""

    file: Path
    offset: int
    agents: tuple[str, ...]

    def requests(self) -> Counter[str]:
        """Requests since then as "verb resource", each at its answer; refused ones with their code."""
        found: Counter[str] = Counter()
        marks = [agent.encode() for agent in self.agents]
        with self.file.open("rb") as lines:
            lines.seek(self.offset)
            for line in lines:
                if not line.endswith(b"\n") or not any(mark in line for mark in marks):
                    continue
                event: dict[str, Any] = json.loads(line)
                # A watch is written down when it begins and once more when it ends.
                if (
                    not event.get("userAgent", "").startswith(self.agents)
                    or "objectRef" not in event  # discovery
                    or (event["verb"] == "watch" and event["stage"] == "ResponseComplete")
                ):
                    continue
                what = event["objectRef"]["resource"]
                if event["objectRef"].get("subresource"):
                    what += "/" + event["objectRef"]["subresource"]
                code = event["responseStatus"]["code"]
                found[f"{event['verb']} {what}" + (f" {code}" if code >= 400 else "")] += 1
        return found
