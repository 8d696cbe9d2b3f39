"""Long-running processes: started apart from us, written down, ended by what was written down.

A record holds the process id together with the process's start time and the boot's id: a number
that the kernel has given to somebody else since is recognised, and never killed. Who kills us
between a start and its record leaves a process without one: a mark in its environment tells.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from common import Problem, last_lines

MARK = "DASK_GITOPS_INSTANCE"  # in the environment: the folder of the instance


@dataclass(frozen=True)
class Component:
    """What shall run: its command, and the address that tells whether it is well."""

    name: str
    command: tuple[str, ...]
    port: int
    health: str = ""  # an http or https address, or nothing: being alive is enough
    patience: float = 120


@dataclass(frozen=True)
class Record:
    """What was started."""

    name: str
    pid: int
    started: int  # the kernel's clock ticks at the process's start
    boot: str
    port: int
    health: str
    log: str

    def alive(self) -> bool:
        """Is exactly this process still there (not a zombie, not another with its number)?"""
        return self.boot == boot_id() and start_time(self.pid) == self.started

    def healthy(self) -> bool:
        """Alive, and it says that it is well."""
        return self.alive() and (not self.health or answers(self.health))

    def memory(self) -> int:
        """Resident memory in MiB."""
        with contextlib.suppress(OSError, IndexError, ValueError):
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE") // 2**20
        return 0


def boot_id() -> str:
    """The kernel's name for the time since the last boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int:
    """When a process was started, in the kernel's clock ticks; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])


def answers(url: str, timeout: float = 2) -> bool:
    """Does a health address answer 200? Asked past any proxy; certificates are our own."""
    try:
        with _opener().open(url, timeout=timeout) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False


@functools.cache
def _opener() -> urllib.request.OpenerDirector:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    https = urllib.request.HTTPSHandler(context=context)
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), https)


def start(folder: Path, component: Component, env: Mapping[str, str] | None = None) -> None:
    """Start a component in a session of its own and write it down in the instance's folder."""
    log = folder / "logs" / f"{component.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            component.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**(os.environ if env is None else env), MARK: str(folder)},
            cwd="/",
            start_new_session=True,
        )
    record = Record(
        name=component.name,
        pid=process.pid,
        started=start_time(process.pid),
        boot=boot_id(),
        port=component.port,
        health=component.health,
        log=str(log),
    )
    file = folder / "processes" / f"{component.name}.json"
    file.parent.mkdir(exist_ok=True)
    temporary = file.with_suffix(".new")
    temporary.write_text(json.dumps(asdict(record)))
    temporary.rename(file)


def records(folder: Path) -> list[Record]:
    """What was started in an instance, oldest first."""
    found = []
    for file in (folder / "processes").glob("*.json"):
        with contextlib.suppress(ValueError, TypeError):
            found.append(Record(**json.loads(file.read_text())))
    return sorted(found, key=lambda record: record.started)


def marked(folder: Path) -> set[int]:
    """The processes that were started in an instance, and theirs, recorded or not."""
    mark = f"{MARK}={folder}".encode()
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.add(int(entry.name))
    return {pid for pid in found if start_time(pid)} - {os.getpid()}


def end_unrecorded(folder: Path) -> None:
    """Kill what was started in an instance and has no record."""
    deadline = time.monotonic() + 20
    while victims := marked(folder):
        for pid in victims:
            send(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise Problem(f"these processes cannot be killed: {sorted(victims)}")
        time.sleep(0.02)


def wait_healthy(folder: Path, components: Sequence[Component]) -> None:
    """Wait until components are well; a dead or silent one is a Problem that shows its log."""
    pending = {component.name: component for component in components}
    began = time.monotonic()
    while pending:
        for record in records(folder):
            component = pending.get(record.name)
            if component is None:
                continue
            if record.healthy():
                del pending[record.name]
            elif not record.alive():
                raise Problem(_obituary(record, "ended right after its start"))
            elif time.monotonic() - began > component.patience:
                raise Problem(_obituary(record, f"is not well after {component.patience:.0f} s"))
        time.sleep(0.05)


def _obituary(record: Record, what: str) -> str:
    """What to tell about a component that failed."""
    log = last_lines(Path(record.log).read_text(errors="replace"), 12)
    advice = "See the log above; `down` cleans up, a new `up` starts afresh."
    if "address already in use" in log:
        advice = f"Port {record.port} is somebody else's (ss -ltnp): `down`, then `up` once more."
    if "no space left" in log:
        advice = "The disk is full: free some room, then `down` and `up` once more."
    return f"{record.name} {what}. The end of {record.log}:\n{log}\n{advice}"


def stop(stopping: Iterable[Record], grace: float = 5) -> None:
    """End processes: ask, wait up to `grace` seconds, then kill."""
    alive = [record for record in stopping if record.alive()]
    for record in alive:
        send(record.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while (alive := [r for r in alive if r.alive()]) and time.monotonic() < deadline:
        time.sleep(0.02)
    for record in alive:
        send(record.pid, signal.SIGKILL)
    while any(record.alive() for record in alive) and time.monotonic() < deadline + 5:
        time.sleep(0.02)


def send(pid: int, what: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, what)
