"""What comes of a conversion."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .comments import Place

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Left:
    """What is not carried over.

    :ivar what: an object, a field or a word, such as ``jupyter.enabled``.
    :ivar why: in words.
    """

    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


@dataclass(slots=True)
class Object:
    """A custom resource of ours, made of a document.

    :ivar raw: what git should have.
    :ivar source: index of the document that it is made of, whose comments it gets.
    :ivar moves: where places of that document are now; None: in another object.
    """

    raw: JSON
    source: int = 0
    moves: dict[Place, Place | None] = field(default_factory=lambda: {(): ()})

    @property
    def kind(self) -> str:
        return str(self.raw["kind"])

    @property
    def name(self) -> str:
        return str(self.raw["metadata"]["name"])


@dataclass(slots=True)
class Converted:
    """:ivar objects: in the order of their sources.
    :ivar left: what is not carried over.
    """

    objects: list[Object] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)


class ConvertError(Exception):
    """It cannot be read; the message says where, and why."""
