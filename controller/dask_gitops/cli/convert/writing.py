"""Pure: YAML that Kubernetes, Helm and people read alike, with comments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dask_gitops.cli.plan.documents import resolve

from .comments import Comment, Place

_WORD = r"[\w./$()+,@%=~:-]+"
#: Texts that nobody takes for something else; ``60s`` and ``4Gi`` begin like numbers, and are none.
_PLAIN = re.compile(
    rf"(?:[A-Za-z_/$(]|--?[A-Za-z])(?:{_WORD})?(?: {_WORD})*|\d+[A-Za-z]+", re.ASCII
)
_NOTHING = Comment()


def write(document: Any, comments: Mapping[Place, Comment] | None = None) -> str:
    """One document, its mappings and lists as blocks.

    :param document: JSON values.
    """
    said = comments or {}
    whole = said.get((), _NOTHING)
    lines = [_comment(line) for line in whole.before]
    if whole.beside is not None:
        lines.append(_comment(whole.beside))
    lines += _block(document, (), said) if _has_parts(document) else [_scalar(document)]
    lines += [_comment(line) for line in whole.below]
    return "\n".join(lines) + "\n"


def _has_parts(value: Any) -> bool:
    return isinstance(value, dict | list) and len(value) > 0


def _comment(said: str) -> str:
    return f"#{said}"


def _block(value: Any, place: Place, said: Mapping[Place, Comment]) -> Iterator[str]:
    parts: Iterable[tuple[str | int, Any]]
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for part, inner in parts:
        here = (*place, part)
        comment = said.get(here, _NOTHING)
        yield from map(_comment, comment.before)
        beside = "" if comment.beside is None else f"  #{comment.beside}"
        begin = f"{_text(part)}:" if isinstance(part, str) else "-"
        if not _has_parts(inner):
            first, *more = _lines(inner)
            yield f"{begin} {first}{beside}"
            yield from (f"  {line}" if line else "" for line in more)
        elif isinstance(value, dict) or beside:
            yield f"{begin}{beside}"
            yield from (f"  {line}" if line else "" for line in _block(inner, here, said))
        else:
            yield from _item(list(_block(inner, here, said)))
        yield from map(_comment, comment.below)


def _item(lines: list[str]) -> Iterator[str]:
    """The dash before the first line that is no comment."""
    at = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    yield from lines[:at]
    yield f"- {lines[at]}"
    yield from (f"  {line}" if line else "" for line in lines[at + 1 :])


def _lines(value: Any) -> list[str]:
    if isinstance(value, str) and "\n" in value and (block := _literal(value)):
        return block
    return [_scalar(value)]


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    return json.dumps(value)


def _text(value: str) -> str:
    """Without quotes only where nobody takes it for something else."""
    if _PLAIN.fullmatch(value) and not value.endswith(":") and ": " not in value:
        read = resolve(value)
        if isinstance(read, str) and read == value:
            return value
    quoted = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)


def _literal(value: str) -> list[str]:
    """A block of lines; nothing where that would lose some of it."""
    body = value.rstrip("\n")
    lines = body.split("\n")
    if not body or lines[0][:1] in (" ", "\t", "") or any(line != line.rstrip() for line in lines):
        return []
    if not all(c == "\n" or (c.isprintable() and c.isascii()) for c in value):
        return []
    ends = len(value) - len(body)
    return ["|-" if ends == 0 else "|", *lines] if ends < 2 else []
