"""What every part uses: messages, expected failures, folders, locks, running a command."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent


class Problem(Exception):
    """An expected failure: told to the person in words, never as a stack trace."""


def say(text: str) -> None:
    """One line of progress. Progress goes to stderr, results (paths, JSON) to stdout."""
    clear = "\r\033[K" if sys.stderr.isatty() else ""  # a bar may stand in this line
    print(f"{clear}{text}", file=sys.stderr, flush=True)


def told(call: Callable[[], int | None]) -> int:
    """The exit code of a command; what it is expected to fail on is told in words."""
    try:
        return call() or 0
    except Problem as problem:
        say(f"error: {problem}")
    except OSError as error:
        say(f"error: {error.strerror or error}: {error.filename or ''}")
    except KeyboardInterrupt:
        say("interrupted; begin again, or end it with `down`")
        return 130
    return 1


def report(what: str, detail: str) -> None:
    """One line of progress about one thing, in two aligned columns."""
    say(f"  {what:<34} {detail}")


def seconds(since: float) -> str:
    """The time passed since `since` (time.monotonic()), as people write it."""
    passed = time.monotonic() - since
    return f"{passed:.1f} s" if passed < 100 else f"{passed:.0f} s"


def cache() -> Path:
    """Folder of everything that took long to make and is made from fixed versions."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("DASK_GITOPS_CACHE") or Path(home) / "dask-gitops")


def state() -> Path:
    """Folder of the running instances; empty when nothing runs."""
    default = Path("/var/lib/dask-gitops/kubernetes")
    if os.geteuid() != 0:
        home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local/state")
        default = Path(home) / "dask-gitops/kubernetes"
    return Path(os.environ.get("DASK_GITOPS_STATE") or default)


@contextlib.contextmanager
def lock(path: Path, waiting_for: str) -> Iterator[None]:
    """Hold an exclusive lock on a folder; it goes with the process, so a kill leaves none behind.

    The folder may be deleted while we wait for it: then we lock the one that took its place.
    """
    told = False
    while True:
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                say(f"waiting for {waiting_for} ...")
                told = True
            fcntl.flock(handle, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(handle).st_ino == path.stat().st_ino:
                break
        os.close(handle)
    try:
        yield
    finally:
        os.close(handle)


def is_locked(path: Path) -> bool:
    """Does somebody hold the lock on a folder?"""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def run(
    command: Sequence[object],
    *,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command and keep its output; a failure becomes a Problem that shows it."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            timeout=timeout,
            capture_output=True,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise Problem(f"{words[0]}: no such program ({error})") from None
    except subprocess.TimeoutExpired:
        raise Problem(f"no answer within {timeout:.0f} s from: {' '.join(words)}") from None
    if check and done.returncode != 0:
        output = last_lines(done.stderr + done.stdout, 12)
        raise Problem(f"failed (exit {done.returncode}): {' '.join(words)}\n{output}")
    return done


def run_long(
    what: str,
    command: Sequence[object],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> float:
    """Run a command that takes minutes, output to `log`; returns its CPU seconds.

    A sign of life every 30 s, unless `meanwhile`, called ten times a second, tells of it. What
    `meanwhile` raises ends the command.
    """
    started = told = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [str(word) for word in command]
    if not shutil.which(words[0]):
        raise Problem(f"{what} needs the program {words[0]}, which is not in PATH")
    with log.open("ab") as output:
        process = subprocess.Popen(
            words,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=meanwhile
            is not None,  # beside others: ended by us, with its children
        )
    used = 0.0
    try:
        while process.returncode is None:
            # wait4 instead of poll: it tells the CPU time, of all that the command has started.
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                used = usage.ru_utime + usage.ru_stime
                break
            time.sleep(0.1)
            if meanwhile:
                meanwhile()
            elif time.monotonic() - told >= 30:
                told = time.monotonic()
                report(what, f"... {told - started:.0f} s")
    finally:
        if process.returncode is None:
            process.terminate()
            process.wait()
    if process.returncode != 0:
        output_end = last_lines(log.read_text(errors="replace"), 15)
        hint = "\nThe disk is full: free some room." if "no space left" in output_end else ""
        raise Problem(f"{what} failed, the end of {log}:\n{output_end}{hint}")
    return used


def last_lines(text: str, count: int) -> str:
    """The last lines of a text, indented."""
    return "\n".join(f"    {line[:400]}" for line in text.rstrip().splitlines()[-count:])


def wait_until(what: str, ready: object, timeout: float, interval: float = 0.1) -> None:
    """Call `ready` until it is true; a Problem after `timeout` seconds."""
    assert callable(ready)
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            raise Problem(f"{what}: not so within {timeout:.0f} s")
        time.sleep(interval)


def need_root(why: str) -> None:
    """Say early, and with the reason, that this needs root."""
    if os.geteuid() != 0:
        raise Problem(f"{why} needs root: run it with sudo (sudo -E keeps your environment)")


def check_name(name: str) -> str:
    """An instance's name becomes part of paths, so only plain words are let in."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", name):
        raise Problem(f"{name!r} is no name for an instance: use a-z, 0-9 and -")
    return name
