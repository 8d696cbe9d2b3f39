"""Pure: a cluster as HTML, for notebooks of any theme.

Text and lines take the colours that surround them; only the dot of a state has its own, which is
seen on white and on black. Whatever a name, a message or a link holds is shown, never obeyed.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from dask_gitops.client.snapshot import Group, Mood, Snapshot

#: At least 3:1 on white and on black.
COLOURS: dict[Mood, str] = {
    "good": "#2f8f4e",
    "waiting": "#b8720a",
    "bad": "#d13f3f",
    "resting": "#7d7d7d",
}
_BOX = "border: 1px solid rgba(128, 128, 128, 0.4); border-radius: 4px; padding: 8px 12px; max-width: 60em;"
_CELL = "text-align: left; padding: 2px 16px 2px 0; color: inherit; background: none;"


def cluster(snapshot: Snapshot) -> str:
    """All there is to see of a cluster."""
    parts = [_head(snapshot.mood, snapshot.name, snapshot.namespace), _line(snapshot.state)]
    if snapshot.dashboard:
        parts.append(_line("Dashboard: ", _link(snapshot.dashboard)))
    if snapshot.groups:
        parts.append(_table(snapshot.groups))
    return _box(parts)


def start(name: str, lines: Sequence[str], mood: Mood = "waiting") -> str:
    """A start, while it goes on.

    :param lines: what it has said, the present last.
    """
    return _box([_head(mood, name), *map(_line, lines)])


def _box(parts: Sequence[str]) -> str:
    return f'<div class="dask-gitops" style="{_BOX}">{"".join(parts)}</div>'


def _head(mood: Mood, name: str, namespace: str = "") -> str:
    dot = f'<span style="color: {COLOURS[mood]};" role="img" aria-label="{mood}">&#9679;</span>'
    where = f' <span style="opacity: 0.7;">in {escape(namespace)}</span>' if namespace else ""
    return f"<div>{dot} <strong>{escape(name)}</strong>{where}</div>"


def _line(text: str, markup: str = "") -> str:
    return f"<div>{escape(text)}{markup}</div>"


def _link(target: str) -> str:
    """Only of the web: a link's other words (``javascript:``) are run by a click."""
    if not target.lower().startswith(("http://", "https://", "/")):
        return escape(target)
    there = escape(target)
    return f'<a href="{there}" target="_blank" rel="noopener">{there}</a>'


def _table(groups: Sequence[Group]) -> str:
    scaled = any(group.bounds for group in groups)
    titles = ["Group", "Ready", "Wanted", *(["Autoscaler", "Its last decision"] if scaled else [])]
    rows = [_row("th", titles)]
    for group in groups:
        cells = [group.name, str(group.ready), "" if group.wanted is None else str(group.wanted)]
        if scaled:
            cells += [bounds_words(group), group.decision]
        rows.append(_row("td", cells))
    return f'<table style="border-collapse: collapse; margin: 6px 0 0 0;">{"".join(rows)}</table>'


def _row(kind: str, cells: Sequence[str]) -> str:
    row = "".join(f'<{kind} style="{_CELL}">{escape(cell)}</{kind}>' for cell in cells)
    return f"<tr>{row}</tr>"


def bounds_words(group: Group) -> str:
    """``1 to 5``; "" without an autoscaler."""
    return "" if group.bounds is None else f"{group.bounds[0]} to {group.bounds[1]}"


def note(text: str, mood: Mood | None = None) -> str:
    """A line of its own, such as an error."""
    dot = "" if mood is None else f'<span style="color: {COLOURS[mood]};">&#9679;</span> '
    return f"<div>{dot}{escape(text)}</div>"
