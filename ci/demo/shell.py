"""Running programs, waiting, and failing in words."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
REPOSITORY = Path(__file__).resolve().parents[2]


class Problem(Exception):
    """An expected failure: shown to the person in words, never as a stack trace.

    :ivar hint: what to try.
    """

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


def run(
    command: Sequence[object],
    *,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float = 120,
    show_progress: bool = False,
) -> str:
    """What a command prints.

    :param show_progress: let the person see what it says on stderr, for commands that take minutes.
    :raises Problem: with the command and the end of what it said.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            cwd=REPOSITORY,
            env={**os.environ, **(env or {})},
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=subprocess.PIPE,
            stderr=None if show_progress else subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=timeout,
        )
    except FileNotFoundError:
        raise Problem(f"{words[0]}: no such program", f"install {words[0]}") from None
    except subprocess.TimeoutExpired:
        raise Problem(f"no end after {timeout:.0f} s: {in_words(words)}") from None
    if done.returncode:
        said = f"{done.stderr or ''}{done.stdout}".strip().splitlines()[-15:]
        raise Problem("\n".join([f"failed: {in_words(words)}", *said]))
    return done.stdout


def in_words(command: Sequence[str]) -> str:
    """A command for people: one line, not longer than a screen."""
    text = " ".join(word if word.isprintable() else "..." for word in command)
    return text if len(text) < 400 else text[:400] + " ..."


def wait_until(what: str, look: Callable[[], T], timeout: float, every: float = 0.5) -> T:
    """The first true answer of ``look``.

    :param look: may raise Problem for "not yet"; the last one is part of the message.
    :raises Problem: when the time is over.
    """
    end = time.monotonic() + timeout
    while True:
        missing = ""
        try:
            answer = look()
            if answer:
                return answer
        except Problem as problem:
            missing = f": {problem}"
        if time.monotonic() > end:
            raise Problem(f"{what}: not so after {timeout:.0f} s{missing}")
        time.sleep(every)
