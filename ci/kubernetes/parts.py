"""Parts of a long work, side by side: what waits for what, one bar over all, a table at the end."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from common import report, run_long, say

WIDE = 24  # characters of the bar
EVERY_TERMINAL, EVERY_LINE = 0.5, 30.0  # seconds between two looks at the bar


class Stopped(Exception):
    """Another part failed, or the person does not want to wait any more."""


@dataclass
class Part:
    """One part: what it is expected to cost, how far it is, and what it took.

    :ivar cost: expected CPU seconds; only the bar rests on it.
    :ivar call: does it, and returns in words what came of it.
    :ivar after: names of parts that have to be done before it begins.
    """

    name: str
    cost: float
    call: Callable[[Part], str]
    after: tuple[str, ...] = ()
    began: bool = False
    fraction: float = 0.0
    wall: float = 0.0
    cpu: float = 0.0
    work: Parts = field(init=False, repr=False)

    def run(
        self,
        command: Sequence[object],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        """Run a command; its CPU time counts as the part's. `look` may note how far it is."""

        def meanwhile() -> None:
            self.work.go_on()
            look()

        self.cpu += run_long(self.name, command, log, env=env, cwd=cwd, meanwhile=meanwhile)

    def wait_for(self, *names: str) -> None:
        """Halfway through: wait until other parts are done, if there are such."""
        for name in names:
            self.work.wait_for(name)


class Parts:
    """All parts of a work."""

    def __init__(self, parts: Iterable[Part] = ()) -> None:
        self.parts: dict[str, Part] = {}
        self.done: dict[str, threading.Event] = {}
        self.stop = threading.Event()
        self.started = time.monotonic()
        for part in parts:
            self.add(part)

    def add(self, part: Part) -> None:
        """One more part; those that it waits for may be added later, or never."""
        assert part.name not in self.parts, part.name
        self.parts[part.name] = part
        self.done[part.name] = threading.Event()
        part.work = self

    def go_on(self) -> None:
        """:raises Stopped: nobody wants the rest any more."""
        if self.stop.is_set():
            raise Stopped

    def wait_for(self, name: str) -> None:
        """Until that part is done; parts that are not in this work are done already."""
        while name in self.done and not self.done[name].wait(0.2):
            self.go_on()

    def run(self) -> None:
        """Do all of it; the first failure ends the rest and is raised."""
        if not self.parts:
            return
        self.started = time.monotonic()
        with ThreadPoolExecutor(len(self.parts)) as pool, self.bar():
            futures = [pool.submit(self.one, part) for part in self.parts.values()]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                if not all(future.done() for future in futures) or first_failure(futures):
                    self.stop.set()
        if failure := first_failure(futures):
            raise failure

    def one(self, part: Part) -> None:
        """Do one part, in a thread of its own."""
        part.wait_for(*part.after)
        part.began = True
        started, used = time.monotonic(), time.thread_time()
        words = part.call(part)
        part.wall = time.monotonic() - started
        part.cpu += time.thread_time() - used
        part.fraction = 1.0
        self.done[part.name].set()
        times = f"{part.wall:.0f} s, CPU {part.cpu:.0f} s"
        self.tell(part.name, f"{times}{words and '; '}{words}")

    def fraction(self) -> float:
        """How much of all is done, by expected cost."""
        total = sum(part.cost for part in self.parts.values())
        done = sum(part.cost * part.fraction for part in self.parts.values())
        return done / total if total else 1.0

    def line(self, now: float) -> str:
        """The bar: how far all of it is, how long it will take, and what runs."""
        done, passed = self.fraction(), now - self.started
        full = round(done * WIDE)
        left = f"about {passed / done - passed:.0f} s left" if done >= 0.05 else ""
        running = [p for p in self.parts.values() if p.began and p.fraction < 1]
        words = ", ".join(f"{p.name} {p.fraction:.0%}" if p.fraction else p.name for p in running)
        bar = f"[{'#' * full}{'.' * (WIDE - full)}] {done:4.0%}  {passed:.0f} s"
        return "  ".join(word for word in (bar, left, words) if word)

    @contextlib.contextmanager
    def bar(self) -> Iterator[None]:
        """Show it until the work ends: in place on a terminal, else a line now and then."""
        ended = threading.Event()
        every = EVERY_TERMINAL if sys.stderr.isatty() else EVERY_LINE

        def show() -> None:
            while not ended.wait(every):
                self.draw()

        thread = threading.Thread(target=show, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            if sys.stderr.isatty():
                print("\r\033[K", end="", file=sys.stderr, flush=True)

    def draw(self) -> None:
        """Show the bar once."""
        text = self.line(time.monotonic())
        if sys.stderr.isatty():
            print(f"\r\033[K  {text[:118]}", end="", file=sys.stderr, flush=True)
        else:
            say(f"  {text}")

    def tell(self, what: str, detail: str) -> None:
        """A line of its own, above the bar."""
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
        report(what, detail)

    def rows(self) -> list[tuple[str, float, float]]:
        """Name, wall and CPU seconds of each part."""
        return [(part.name, part.wall, part.cpu) for part in self.parts.values()]


def first_failure(futures: Sequence[Future[None]]) -> BaseException | None:
    """What the work failed on; that others were stopped for it says nothing."""
    found = [f.exception() for f in futures if f.done() and f.exception()]
    return next((e for e in found if not isinstance(e, Stopped)), found[0] if found else None)
