"""Who is touched by a change, and what happens to it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Effect:
    """One thing that happens.

    :ivar what: one word, for programs.
    :ivar disruptive: a scheduler is restarted, or work or results are lost.
    :ivar workers: how many workers it is about; None: it is about none, or nobody knows how many there are.
    """

    what: str
    text: str
    disruptive: bool = False
    workers: int | None = None


@dataclass
class Subject:
    """:ivar kind: cluster, group or job.
    :ivar changed: the fields that were changed.
    """

    kind: str
    namespace: str
    name: str
    effects: list[Effect] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
