"""Pure: comments of YAML, and the keys that they stand with."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # of it, only marks are used
#: Keys and indices from the top of a document on; (): the document itself.
Place = tuple[str | int, ...]


@dataclass(slots=True)
class Comment:
    """What is said of one key or item; each line without its ``#``.

    :ivar before: lines above it.
    :ivar beside: behind it, on its own line.
    :ivar below: lines behind all that belongs to it, as far to the right as it.
    """

    before: list[str] = field(default_factory=list)
    beside: str | None = None
    below: list[str] = field(default_factory=list)


Comments = dict[Place, Comment]


@dataclass(frozen=True, slots=True)
class _Start:
    """Where a key or item begins."""

    line: int
    column: int
    place: Place


def comments(text: str) -> list[Comments]:
    """Those of each document of a stream that can be read as YAML."""
    text = text.removeprefix("\ufeff")
    found: list[Comments] = []
    nodes = list(yaml.compose_all(text, Loader=_Loader))
    starts = [list(_starts(node)) if node is not None else [] for node in nodes]
    scalars = [span for node in nodes if node is not None for span in _scalars(node, set())]
    ends = [node.end_mark.line if node is not None else 0 for node in nodes]
    found = [{} for _ in nodes]
    for line, column, own, said in _lines(text, scalars):
        number = next((i for i, end in enumerate(ends) if line <= end), len(nodes) - 1)
        if number < 0:
            break
        place, field_name = _whose(starts[number], line, column, own)
        comment = found[number].setdefault(place, Comment())
        if field_name == "beside":
            comment.beside = said if comment.beside is None else f"{comment.beside} {said}"
        else:
            getattr(comment, field_name).append(said)
    return found


def _whose(starts: list[_Start], line: int, column: int, own: bool) -> tuple[Place, str]:
    """Whose it is, and where it stands.

    :param own: nothing else is on its line.
    """
    after = bisect.bisect_right(starts, line, key=lambda start: start.line)
    if not own:
        return (starts[after - 1].place, "beside") if after else ((), "before")
    if after < len(starts) and (column <= starts[after].column or not after):
        return starts[after].place, "before"
    # Further to the right than what follows: it ends what came before.
    for at in range(after - 1, -1, -1):
        if starts[at].column <= column:
            return starts[at].place, "below"
    return (starts[after - 1].place, "below") if after else ((), "before")


def _starts(node: yaml.Node, place: Place = (), seen: set[int] | None = None) -> Iterator[_Start]:
    """In the order of the text; what an alias repeats is where it was first."""
    seen = set() if seen is None else seen
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                here = (*place, key.value)
                yield _Start(key.start_mark.line, key.start_mark.column, here)
                yield from _starts(value, here, seen)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            here = (*place, i)
            column = item.start_mark.column if node.flow_style else node.start_mark.column
            yield _Start(item.start_mark.line, column, here)
            yield from _starts(item, here, seen)


def _scalars(node: yaml.Node, seen: set[int]) -> Iterator[tuple[int, int]]:
    """From where to where texts reach, in which # says nothing."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        yield node.start_mark.index, node.end_mark.index
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            for each in pair:
                yield from _scalars(each, seen)
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            yield from _scalars(each, seen)


def _lines(text: str, scalars: list[tuple[int, int]]) -> Iterator[tuple[int, int, bool, str]]:
    """Line, column, whether it is alone there, and what each comment says."""
    inside = sorted(scalars)
    at, position = 0, 0
    for number, line in enumerate(text.splitlines(keepends=True)):
        for column, sign in enumerate(line):
            if sign != "#" or (column and not line[column - 1].isspace()):
                continue
            index = position + column
            while at < len(inside) and inside[at][1] <= index:
                at += 1
            if at < len(inside) and inside[at][0] <= index:
                continue
            said = line[column + 1 :].rstrip()
            yield number, column, not line[:column].strip(" \t-"), said
            break
        position += len(line)


def moved(of: Mapping[Place, Comment], moves: Mapping[Place, Place | None], into: Any) -> Comments:
    """Comments at the places where their keys are now; where a key is no more, with what held it.

    :param moves: where places have gone, with all that is below them; None: to another document.
    :param into: the document that they are for.
    """
    found: Comments = {}
    for place, comment in of.items():
        target = _target(place, moves)
        if target is None:
            continue
        there = target
        while there and not _exists(into, there):
            there = there[:-1]
        mine = found.setdefault(there, Comment())
        if there == target:
            mine.before += comment.before
            mine.below += comment.below
            if comment.beside is not None:
                mine.beside = comment.beside
        else:
            beside = [] if comment.beside is None else [comment.beside]
            mine.before += [*comment.before, *beside, *comment.below]
    return found


def _target(place: Place, moves: Mapping[Place, Place | None]) -> Place | None:
    for length in range(len(place), -1, -1):
        if place[:length] in moves:
            start = moves[place[:length]]
            return None if start is None else (*start, *place[length:])
    return None


def _exists(document: Any, place: Place) -> bool:
    here = document
    for part in place:
        if isinstance(here, list):
            inside = isinstance(part, int) and part < len(here)
        else:
            inside = isinstance(here, dict) and part in here
        if not inside:
            return False
        here = here[part]
    return True
