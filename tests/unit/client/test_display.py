"""What people see while a cluster starts: in a notebook, on a terminal, elsewhere."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from dask_gitops.client import display
from dask_gitops.client.display import mismatch, shown, with_seconds

HOSTILE = "\x1b[31mred\x1b[0m [bold]x[/bold] [/] \r\nover"
TAME = " [31mred [0m [bold]x[/bold] [/]   over"


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    """As it is where nobody configured logging."""
    level = display.log.level
    display.log.setLevel(logging.WARNING)
    yield
    display.log.setLevel(level)


class Terminal(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


def play(show: display.Display) -> None:
    show("waits for a node", 0.0)
    show("waits for a node", 3.2)
    show(HOSTILE, 0.0)
    show.end("2 workers")
    show.end("twice")
    show("too late", 1.0)


def test_plain_lines_one_per_change() -> None:
    stream = io.StringIO()
    play(shown(False, "demo", stream))
    assert stream.getvalue() == f"demo: waits for a node\ndemo: {TAME}\ndemo: 2 workers\n"


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    stream = Terminal()
    play(shown(True, "demo", stream))
    play(shown(True, "demo"))
    assert stream.getvalue() == ""
    assert capsys.readouterr() == ("", "")


def test_standard_error_is_what_it_is_at_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    play(shown(False, "demo"))
    assert capsys.readouterr().out == ""


def test_who_has_it_in_a_log_is_not_told_twice(caplog: pytest.LogCaptureFixture) -> None:
    stream = io.StringIO()
    with caplog.at_level(logging.INFO, "dask_gitops"):
        play(shown(False, "demo", stream))
    assert stream.getvalue() == ""
    assert caplog.messages == ["demo: waits for a node", f"demo: {TAME}", "demo: 2 workers"]


def test_a_panel_gives_way_to_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    show = shown(False, "demo", stream)
    show("waits for a node", 3.2)
    show(HOSTILE, 5.0)
    drawn = stream.getvalue()
    assert "waits for a node, 3 s" in drawn
    assert f"{TAME.strip()}, 5 s" in drawn
    assert "\x1b[31mred" not in drawn  # of theirs
    assert "\x1b[?25l" in drawn
    show.end("2 workers")
    left = stream.getvalue().removeprefix(drawn)
    assert "\x1b[?25h" in left  # the cursor is back
    assert left.rstrip().endswith(": 2 workers")
    assert "waits for a node" not in left.rpartition("\x1b[2K")[2]


def test_a_terminal_that_cannot_draw_shows_nothing_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    play(shown(False, "demo", stream))
    assert stream.getvalue() == f"demo: waits for a node\ndemo: {TAME}\ndemo: 2 workers\n"


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


class Narrow(io.StringIO):
    encoding = "ascii"  # type: ignore[assignment]

    def write(self, text: str) -> int:
        return super().write(text.encode("ascii").decode())


def test_what_cannot_be_shown_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    play(shown(False, "demo", Broken()))
    closed = Terminal()
    closed.close()
    play(shown(False, "demo", closed))
    monkeypatch.setattr(sys, "stderr", None)
    play(shown(False, "demo"))
    narrow = Narrow()
    shown(False, "dämo", narrow)("übel", 0)
    assert narrow.getvalue() == "d?mo: ?bel\n"


class Notebook:
    """IPython's display, as a kernel has it."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []

    def display(self, bundle: dict[str, str], raw: bool, display_id: bool = False) -> Notebook:
        assert raw
        self.shown.append(bundle)
        return self

    def update(self, bundle: dict[str, str], raw: bool) -> None:
        self.display(bundle, raw)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    found = Notebook()
    ipython, ipython_display = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    ipython_display.display = found.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython_display)
    return found


def test_a_notebook_needs_no_widgets(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    stream = io.StringIO()
    show = shown(False, "demo", stream)
    show("waits for a node", 3.2)
    show("<b>pulling</b>", 1.0)
    assert "waits for a node, 3 s" in notebook.shown[-1]["text/html"]
    assert "&lt;b&gt;pulling&lt;/b&gt;, 1 s" in notebook.shown[-1]["text/html"]
    show.end("2 workers", failed=True)
    assert "waits for a node" not in notebook.shown[-1]["text/html"]
    assert notebook.shown[-1]["text/plain"] == "demo: 2 workers"
    assert stream.getvalue() == ""


def test_ipython_in_a_terminal_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    ipython = ModuleType("IPython")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=None)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    stream = io.StringIO()
    shown(False, "demo", stream)("one", 0)
    assert stream.getvalue() == "demo: one\n"


def test_real_ipython_shows_it() -> None:
    """In a fresh process, with its own display handles and a kernel's publisher played."""
    program = """
import io
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.kernel = object()
told = []
shell.display_pub.publish = lambda data, metadata=None, **more: told.append((more["update"] if "update" in more else False, data))
from dask_gitops.client.display import shown
show = shown(False, "demo", io.StringIO())
show("one", 2.0)
show.end("two")
print([(update, data["text/plain"]) for update, data in told])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = [(False, "demo: starting"), (True, "demo: one, 2 s"), (True, "demo: two")]
    assert done.stdout == f"{expected}\n"


def test_the_last_line_says_how_long_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(monotonic=lambda: 100.0)
    monkeypatch.setattr(display, "time", clock)
    stream = io.StringIO()
    show = shown(False, "demo", stream)
    clock.monotonic = lambda: 141.5
    show.end("2 workers, dashboard http://d/status")
    assert stream.getvalue() == "demo: 2 workers, dashboard http://d/status (41 s)\n"


def test_it_may_be_called_from_any_thread() -> None:
    stream = io.StringIO()
    show = shown(False, "demo", stream)
    threads = [threading.Thread(target=show, args=(f"line {n}", 0.0)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(stream.getvalue().splitlines()) == sorted(f"demo: line {n}" for n in range(20))


def test_a_novel_is_cut() -> None:
    stream = io.StringIO()
    show = shown(False, "demo", stream)
    show("x" * 100_000, 0)
    assert len(stream.getvalue()) < 600
    for n in range(100):
        show(f"line {n}", 0)
    assert len(show._lines) == display.LINES  # type: ignore[attr-defined]


def test_seconds() -> None:
    assert [with_seconds("a", s) for s in (0.4, 1.9, 119, 600.2)] == [
        "a",
        "a, 1 s",
        "a, 119 s",
        "a, 10 min 0 s",
    ]


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        (("2026.8.0", "3.11.7"), ("2026.8.0", "3.11.2"), ""),
        (("2026.8.0", "3.11.7"), ("", ""), ""),
        (
            ("2026.8.0", "3.11.7"),
            ("2026.3.0", "3.11.7"),
            "the scheduler runs Dask 2026.3.0, this process 2026.8.0: tasks and results may not be "
            'understood; image="ghcr.io/dask/dask:2026.8.0-py3.11" would fit',
        ),
        (
            ("2026.8.0", "3.11.7"),
            ("2026.3.0", "3.13.1"),
            "the scheduler runs Dask 2026.3.0, this process 2026.8.0; the scheduler runs Python 3.13, "
            "this process 3.11: tasks and results may not be understood; "
            'image="ghcr.io/dask/dask:2026.8.0-py3.11" would fit',
        ),
        (
            ("2026.8.0+4.gabc", "3.11.7"),
            ("2026.8.0", "3.11.7"),
            "the scheduler runs Dask 2026.8.0, this process 2026.8.0+4.gabc: tasks and results may "
            "not be understood; install what the scheduler runs, or use an image with Dask "
            "2026.8.0+4.gabc and Python 3.11",
        ),
    ],
)  # fmt: skip
def test_versions_that_differ(ours: Any, theirs: Any, says: str) -> None:
    assert mismatch(ours, theirs) == says
