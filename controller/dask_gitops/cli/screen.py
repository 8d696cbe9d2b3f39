"""What commands print: documents for programs, tables and lines for people. No colour where nobody looks."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

#: Text, or text with a style of rich.
Cell = str | tuple[str, str]
#: Between two columns.
GAP = "  "


def is_terminal() -> bool:
    """Does a person look on, at something that can draw?"""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def say(line: str) -> None:
    """A line, whatever the encoding of standard output is."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    click.echo(line.encode(encoding, "replace").decode(encoding))


def document(value: Any) -> None:
    """The one JSON document of a command."""
    say(json.dumps(value, indent=2))


def text_of(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """For people: drawn as wide as the terminal is; in a pipe a line is a line, however long."""
    if is_terminal():
        from rich.console import Console

        Console(highlight=False).print(drawn(head, rows))
        return
    for line in lines(head, rows):
        say(line)


def lines(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> list[str]:
    """Columns as wide as what is in them."""
    texts = [list(head), *([text_of(cell) for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in texts) for at in range(len(head))]
    return [
        GAP.join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in texts
    ]


def drawn(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Any:
    """A table of rich, in which nothing is markup; what is too long for its column goes on below."""
    from rich.table import Table
    from rich.text import Text

    found = Table(box=None, pad_edge=False, header_style="bold", padding=(0, len(GAP), 0, 0))
    for title in head:
        found.add_column(title, overflow="fold")
    for row in rows:
        found.add_row(
            *(Text(cell) if isinstance(cell, str) else Text(cell[0], style=cell[1]) for cell in row)
        )
    return found
