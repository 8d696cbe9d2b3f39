"""What people see while a cluster starts.

KubeCluster calls `shown` in the user's thread, and has a `Display` then, which may be called from
any thread: ``show(line, seconds)`` when the words of a start change and about once a second while
they stay, ``show.end(line)`` once, whatever the end was. Nothing that happens in here reaches the
caller: a closed terminal stops no start.

    show = shown(settings.quiet, "demo")
    show("scheduler: pulling ghcr.io/dask/dask:2026.8.0", 34.2)
    show.end("2 workers, dashboard http://127.0.0.1:34567/status")

Each change also goes to the logger ``dask_gitops``, with level INFO. After the connection,
`mismatch` says whether versions fit.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, Any, Protocol

from dask_gitops.client import html
from dask_gitops.client.snapshot import Mood
from dask_gitops.text import printable

log = logging.getLogger("dask_gitops")
#: Longer ones are cut: an admission webhook may write a novel.
LINE = 500
#: So many of the last lines of a start are shown at once.
LINES = 8


class Display(Protocol):
    """Shows a start, until its end."""

    def __call__(self, line: str, seconds: float) -> None:
        """:param line: what it waits for; :param seconds: since when it says so."""
        ...

    def end(self, line: str, *, failed: bool = False) -> None:
        """:param line: is all that is left of it."""
        ...


def shown(quiet: bool = False, name: str = "", stream: IO[str] | None = None) -> Display:
    """How a start is shown here: in a notebook, on a terminal, or by plain lines.

    :param name: of the cluster.
    :param stream: standard error if left out.
    """
    screen: _Screen = _Nowhere()
    stream = sys.stderr if stream is None else stream  # there is none in a window's own process
    if not quiet:
        try:
            screen = _screen(name, stream)
        except Exception:
            log.debug("a start is not shown", exc_info=True)
    return _Shown(name, screen)


def _screen(name: str, stream: IO[str] | None) -> _Screen:
    display = _notebook()
    if display is not None:
        return _Notebook(name, display)
    if stream is None:
        return _Nowhere()
    console = _console(stream) if stream.isatty() else None
    return _Plain(name, stream) if console is None else _Terminal(name, console)


def _console(stream: IO[str]) -> Any:
    """A rich console; None where nothing can be drawn."""
    from rich.console import Console

    console = Console(file=stream)
    return None if console.is_dumb_terminal else console


def _notebook() -> Callable[..., Any] | None:
    """IPython's ``display`` where it can show HTML; nothing is imported for the question."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if getattr(shell, "kernel", None) is None:
        return None
    from IPython.display import display

    found: Callable[..., Any] = display
    return found


def with_seconds(line: str, seconds: float) -> str:
    """``scheduler: waits for a node, 34 s``; nothing below a second."""
    return f"{line}, {span(seconds)}" if seconds >= 1 else line


def span(seconds: float) -> str:
    """``34 s``; minutes from two on."""
    whole = int(seconds)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"


class _Screen(Protocol):
    def draw(self, lines: list[tuple[str, float]], changed: bool) -> None:
        """:param lines: what was said, and for how many seconds, the present last."""
        ...

    def leave(self, line: str, mood: Mood) -> None: ...


class _Shown:
    """Keeps what was said, and what goes wrong, from its screen."""

    def __init__(self, name: str, screen: _Screen) -> None:
        self._name = name
        self._screen = screen
        self._lines: list[tuple[str, float]] = []
        self._began = time.monotonic()
        self._over = False
        self._lock = threading.Lock()

    def __call__(self, line: str, seconds: float) -> None:
        line = printable(line, LINE)
        with self._lock:
            if self._over:
                return
            changed = not self._lines or self._lines[-1][0] != line
            if changed:
                log.info("%s: %s", self._name, line)
                self._lines = self._lines[1 - LINES :]
            else:
                self._lines.pop()
            self._lines.append((line, seconds))
            self._carefully(lambda: self._screen.draw(self._lines, changed))

    def end(self, line: str, *, failed: bool = False) -> None:
        seconds = time.monotonic() - self._began
        line = printable(line, LINE)
        line = f"{line} ({span(seconds)})" if seconds >= 1 else line
        with self._lock:
            if self._over:
                return
            self._over = True
            log.info("%s: %s", self._name, line)
            self._carefully(lambda: self._screen.leave(line, "bad" if failed else "good"))

    def _carefully(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception:
            log.debug("a start is no longer shown", exc_info=True)
            self._screen = _Nowhere()


class _Nowhere:
    def draw(self, lines: list[tuple[str, float]], changed: bool) -> None:
        pass

    def leave(self, line: str, mood: Mood) -> None:
        pass


class _Plain:
    """One line per change. Whose log shows them already has them once."""

    def __init__(self, name: str, stream: IO[str]) -> None:
        self._name = name
        self._stream = stream

    def draw(self, lines: list[tuple[str, float]], changed: bool) -> None:
        if changed:
            self._print(lines[-1][0])

    def leave(self, line: str, mood: Mood) -> None:
        self._print(line)

    def _print(self, line: str) -> None:
        if not (log.isEnabledFor(logging.INFO) and log.hasHandlers()):
            text = f"{self._name}: {line}"
            encoding = getattr(self._stream, "encoding", None) or "utf-8"
            print(text.encode(encoding, "replace").decode(encoding), file=self._stream, flush=True)


class _Terminal:
    """A panel that is drawn anew, and gives way to the last line."""

    def __init__(self, name: str, console: Any) -> None:
        from rich.live import Live

        self._name = name
        self._console = console
        # Redirected standard streams would take a user's own prints to another stream.
        self._live = Live(
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def draw(self, lines: list[tuple[str, float]], changed: bool) -> None:
        self._live.update(panel(self._name, lines), refresh=True)

    def leave(self, line: str, mood: Mood) -> None:
        from rich.text import Text

        self._live.stop()
        style = {"good": "green", "bad": "red"}.get(mood, "")
        self._console.print(Text.assemble((self._name, f"bold {style}"), f": {line}"))


def panel(name: str, lines: list[tuple[str, float]]) -> Any:
    """Those lines for a terminal; what looks like markup in them is text."""
    from rich.panel import Panel
    from rich.text import Text

    body = Text("\n").join(
        Text(with_seconds(line, seconds), style="" if at == len(lines) - 1 else "dim")
        for at, (line, seconds) in enumerate(lines)
    )
    return Panel(body, title=Text(name, style="bold"), title_align="left", expand=False)


class _Notebook:
    """HTML that is replaced where it stands; it needs no ipywidgets."""

    def __init__(self, name: str, display: Callable[..., Any]) -> None:
        self._name = name
        text = f"{name}: starting"
        self._handle = display(
            {"text/html": html.start(name, ["starting"]), "text/plain": text},
            raw=True,
            display_id=True,
        )

    def draw(self, lines: list[tuple[str, float]], changed: bool) -> None:
        self._put([with_seconds(line, seconds) for line, seconds in lines], "waiting")

    def leave(self, line: str, mood: Mood) -> None:
        self._put([line], mood)

    def _put(self, lines: list[str], mood: Mood) -> None:
        bundle = {
            "text/html": html.start(self._name, lines, mood),
            "text/plain": f"{self._name}: {lines[-1]}",
        }
        self._handle.update(bundle, raw=True)


# ---- versions


def mismatch(
    ours: tuple[str, str], theirs: tuple[str, str], image: str = "ghcr.io/dask/dask"
) -> str:
    """What is to be said when client and scheduler differ; "" when they fit.

    :param ours: versions of Dask and of Python here; :param theirs: at the scheduler; "" for one
        that is not known. Of Python major and minor count.
    :param image: without a tag, of which one would fit.
    """
    ours, theirs = (ours[0], _minor(ours[1])), (theirs[0], _minor(theirs[1]))
    differ = [
        (what, there, here)
        for what, there, here in zip(("Dask", "Python"), theirs, ours, strict=True)
        if there and here and there != here
    ]
    if not differ:
        return ""
    text = "; ".join(
        f"the scheduler runs {what} {printable(there, 60)}, this process {here}"
        for what, there, here in differ
    )
    advice = f"install what the scheduler runs, or use an image with {_pair(ours)}"
    if re.fullmatch(r"\d+\.\d+\.\d+", ours[0]) and re.fullmatch(r"\d+\.\d+", ours[1]):
        advice = f'image="{image}:{ours[0]}-py{ours[1]}" would fit'
    return f"{text}: tasks and results may not be understood; {advice}"


def _pair(versions: tuple[str, str]) -> str:
    named = [f"{what} {v}" for what, v in zip(("Dask", "Python"), versions, strict=True) if v]
    return " and ".join(named)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
