"""The running commentary: one line per step, and a table at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Step:
    """
    :ivar shown: what the step showed, in a few words.
    """

    number: int
    title: str
    shown: str = ""
    seconds: float = 0.0

    def command(self, text: str) -> None:
        """Tell which command runs now."""
        say(f"     $ {text}")

    def detail(self, text: str) -> None:
        """More than fits into the line."""
        for line in text.rstrip().splitlines():
            say(f"       {line}")


class Steps:
    """All steps in order; ``current`` is the one that runs, also after it failed."""

    def __init__(self) -> None:
        self.done: list[Step] = []
        self.current: Step | None = None
        self.started = time.monotonic()

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Run a step: its line is printed when it is done."""
        step = self.current = Step(len(self.done) + 1, title)
        started = time.monotonic()
        yield step
        step.seconds = time.monotonic() - started
        self.done.append(step)
        self.current = None
        say(f"[{step.number:2}] {title} ".ljust(46, ".") + f" {step.seconds:5.1f} s  {step.shown}")

    def table(self) -> str:
        """All steps with their time and what they showed."""
        rows = [("step", "seconds", "what was shown")]
        rows += [(s.title, f"{s.seconds:.1f}", s.shown) for s in self.done]
        rows.append(("all", f"{time.monotonic() - self.started:.1f}", ""))
        wide = max(len(title) for title, _, _ in rows)
        lines = [f"{title:<{wide}}  {took:>7}  {shown}".rstrip() for title, took, shown in rows]
        return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def parts_table(parts: Sequence[tuple[str, float, float]]) -> str:
    """What was made before the first step could end: parts side by side, their time and CPU time."""
    rows = [("made beforehand", "wall s", "CPU s")]
    rows += [(name, f"{wall:.1f}", f"{cpu:.1f}") for name, wall, cpu in parts]
    rows.append(("all, side by side", "", f"{sum(cpu for _, _, cpu in parts):.1f}"))
    wide = max(len(name) for name, _, _ in rows)
    lines = [f"{name:<{wide}}  {wall:>7}  {cpu:>7}" for name, wall, cpu in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def say(text: str = "") -> None:
    """A line for the person, at once."""
    print(text, flush=True)
