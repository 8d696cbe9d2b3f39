"""JSON from outside: however deep it nests, reading it ends well.

Everything that walks through an object (the parser itself, a comparison, a copy, what writes it as JSON) takes a piece
of the stack for each level. A tenant may nest 10,000 levels where a schema lets unknown fields be; and then the answer
that holds all objects of a namespace could not be read any more.
"""

from __future__ import annotations

import json
import re
from typing import Any

#: Levels of objects and lists, the object itself among them. Pods have some 15.
MAX_LEVELS = 100
_BRACKET = re.compile(rb'[^"\[\]{}]*+(?:"(?:[^"\\]++|\\.)*+"[^"\[\]{}]*+)*+([\[\]{}])', re.DOTALL)


class Cut(dict[str, Any]):
    """An object that nests deeper than `MAX_LEVELS`: what lay deeper has been taken away."""


def decode(raw: bytes, above: int = 0) -> Any:
    """What this JSON says, down to some level that is deeper than `MAX_LEVELS`.

    :param above: levels that are around the objects that count (a list of objects has 2).
    :raises ValueError: it is no JSON.
    """
    try:
        return json.loads(raw)
    except RecursionError:
        return json.loads(_emptied(raw, above + MAX_LEVELS + 1))


def shallow(decoded: Any) -> Any:
    """The object itself, or what is left of it as a `Cut`; anything that is no object comes back as it is."""
    if type(decoded) is not dict:
        return decoded
    level: list[Any] = [decoded]
    for _ in range(MAX_LEVELS - 1):
        level = [
            child
            for parent in level
            for child in (parent.values() if type(parent) is dict else parent)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return decoded
    # These are as deep as it may go: what they hold may hold nothing.
    cut = False
    for parent in level:
        places = parent if type(parent) is dict else range(len(parent))
        for place in places:
            if type(parent[place]) is dict or type(parent[place]) is list:
                parent[place] = None
                cut = True
    return Cut(decoded) if cut else decoded


def _emptied(raw: bytes, levels: int) -> bytes:
    """The same JSON; what lies within this many levels has nothing in it."""
    pieces: list[bytes] = []
    depth, kept, end = 0, 0, 0
    # Each begins where the last one ended: a search would try every place of what has no more brackets.
    while found := _BRACKET.match(raw, end):
        end = found.end()
        if found[1] in b"[{":
            depth += 1
            if depth == levels:
                pieces.append(raw[kept:end])
        else:
            if depth == levels:
                kept = end - 1
            depth -= 1
    if depth < levels:
        pieces.append(raw[kept:])
    return b"".join(pieces)
