"""Pure: who has its turn when, and what a turn found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

PLAIN, OURS, PEER = (
    "plain",
    "ours",
    "peer",
)  # nobody's controller, this tree's, the existing operator


@dataclass(frozen=True)
class Sizes:
    """:ivar patience_s: nobody gets more time for one thing; what is slower is told in words."""

    workers: int = 100
    clusters: int = 10
    idle_s: float = 120.0
    scaled_idle_s: float = 300.0
    patience_s: float = 90.0


@dataclass
class Turn:
    """What one contestant did in one go.

    :ivar values: seconds, MiB, counts by the keys of the report's rows.
    :ivar words: by such a key, why it has no value.
    :ivar notes: what else was seen, for the JSON file only.
    """

    contestant: str
    number: int = 1
    values: dict[str, float] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


def order(contestants: Sequence[str], turns: int) -> Iterator[tuple[int, str]]:
    """Every contestant once in each turn, there and back, so that no one always comes first.

    A machine that gets warmer, or busier, is then no advantage of anybody.
    """
    for turn in range(turns):
        for contestant in contestants if turn % 2 == 0 else reversed(contestants):
            yield turn + 1, contestant


def compare(own: Turn, plain: Turn) -> None:
    """How many times the plain way's seconds it took, of what both did on the same control plane.

    That is steadier than the seconds: both met the same machine in the same minute.
    """
    for key in own.values.keys() & plain.values.keys():
        own.values[f"{key}_x"] = round(own.values[key] / plain.values[key], 3)
