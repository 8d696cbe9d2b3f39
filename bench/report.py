"""Pure: the tables of results, as text and as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.turns import OURS, PEER, PLAIN, Sizes, Turn

TITLES = {PLAIN: "loop, bare Pods", OURS: "dask-gitops", PEER: "existing operator"}
#: Where the five lines of the last full run stand, in files that show them.
BEGIN, END = "<!-- last run: begin -->", "<!-- last run: end -->"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    :ivar key: of the turns' values, the same for everybody.
    :ivar limit: the target for ours, from the sizes.
    :ivar headline: one of the lines that the READMEs show.
    """

    key: str
    words: str
    unit: str = "s"
    limit: Callable[[Sizes], float] | None = None
    headline: bool = False


BESIDE = (
    Row("b", "b: 3 scaled to {workers} workers, until Ready", headline=True),
    Row("b_x", "b: of the loop just before", "times", limit=lambda sizes: 1.25),
    Row("b_cpu", "b: the controller's CPU", headline=True),
    Row("b_memory", "b: its memory then", "MiB", limit=lambda sizes: 120),
    Row("b_requests", "b: its requests", ""),
    Row(
        "c",
        "c: {clusters} clusters of 3 applied, until Ready",
        limit=lambda sizes: 3 + 0.12 * sizes.clusters,  # 15 s for 100
        headline=True,
    ),
    Row("c_apply", "c: of it `kubectl apply`"),
    Row("c_cpu", "c: the controller's CPU"),
    Row("c_requests", "c: its requests", ""),
    Row("d", "d: a cluster of {workers} deleted, until gone", headline=True),
    Row("d_x", "d: of the deletecollection just before", "times", limit=lambda sizes: 1.25),
    Row("d_cpu", "d: the controller's CPU"),
    Row("g", "g: apply to first result on 3 real workers", headline=True),
    Row("g_x", "g: of the bare Pods beside it", "times"),
    Row("fixed", "a fixed piece of work on one core"),
)
IDLE = (
    Row("e_cpu", "e: {clusters} idle for {idle_s:.0f} s: CPU", limit=lambda sizes: 0.5),
    Row("e_memory", "e: memory", "MiB"),
    Row("e_requests", "e: requests", "", limit=lambda sizes: 0),
    Row("e_leases", "e: Lease writes", "", limit=lambda sizes: sizes.idle_s / 2),
    Row("e_watches", "e: watches begun", ""),
    Row(
        "f_cpu",
        "f: {clusters} autoscaled, idle for {scaled_idle_s:.0f} s: CPU",
        limit=lambda sizes: 0.1 * sizes.scaled_idle_s,
    ),
    Row("f_memory", "f: memory", "MiB"),
    Row("f_requests", "f: requests", "", limit=lambda sizes: 0),
    Row("f_calls", "f: calls of schedulers", ""),
)
CLIENT = (
    Row("k", "k: KubeCluster to first result, outside, nothing configured"),
    Row("k_x", "k: of the existing client's in the same turn", "times", limit=lambda sizes: 0.4),
    Row("k_best", "k: the same, port_forward_cluster_ip=True"),
    Row("k_best_x", "k: of the existing client's", "times", limit=lambda sizes: 0.75),
    Row("k_floor", "k: floor: kubectl apply, a Client that knows the address"),
    Row("k_added", "k: added to the floor"),
    Row("k_added_x", "k: of what the existing client adds", "times", limit=lambda sizes: 0.5),
    Row("k_inside", "k: in a Pod"),
    Row("k_inside_x", "k: of the existing client's", "times", limit=lambda sizes: 0.75),
    Row("k_floor_inside", "k: floor in a Pod"),
    Row("k_added_inside", "k: added to the floor"),
    Row("k_added_inside_x", "k: of what the existing client adds", "times", limit=lambda sizes: 0.5),
    Row("k_from", "k: from_name, outside", limit=lambda sizes: 0.5),
    Row("k_from_inside", "k: from_name, in a Pod", limit=lambda sizes: 0.2),
    Row("k_scale", "k: scale(2 to 4) until the fourth is registered"),
    Row("k_scale_x", "k: of the existing client's", "times", limit=lambda sizes: 1.0),
    Row("k_close", "k: close()"),
    Row("k_close_x", "k: of the existing client's", "times", limit=lambda sizes: 0.5),
    Row("k_import", "k: import, after distributed"),
    Row("k_import_x", "k: of the existing client's", "times", limit=lambda sizes: 0.75),
)  # fmt: skip


def values(turns: Sequence[Turn], contestant: str, key: str) -> list[float]:
    return [t.values[key] for t in turns if t.contestant == contestant and key in t.values]


def medians(turns: Sequence[Turn]) -> dict[str, dict[str, float]]:
    """By contestant and key."""
    return {
        who: {
            key: statistics.median(values(turns, who, key))
            for key in sorted({key for t in turns if t.contestant == who for key in t.values})
        }
        for who in dict.fromkeys(turn.contestant for turn in turns)
    }


def table(
    turns: Sequence[Turn], sizes: Sizes, rows: Sequence[Row], *, headlines: bool = False
) -> list[tuple[str, ...]]:
    """A column for everybody who had a turn: median (least - most).

    :param headlines: only those lines.
    """
    who = [one for one in TITLES if any(turn.contestant == one for turn in turns)]
    lines = [("", "unit", *(TITLES[one] for one in who), "target")]
    for row in rows:
        cells = [cell(turns, one, row.key) for one in who]
        if not any(cells) or (headlines and not row.headline):
            continue
        words = row.words.format(**vars(sizes))
        lines.append((words, row.unit, *(c or "-" for c in cells), verdict(row, turns, sizes)))
    return lines


def cell(turns: Sequence[Turn], contestant: str, key: str) -> str:
    """Empty: it had nothing to do with that."""
    found = values(turns, contestant, key)
    failed = sum(t.contestant == contestant and key in t.words for t in turns)
    if not found:
        return "not done" if failed else ""
    text = number(statistics.median(found))
    if len(found) > 1:
        text += f" ({number(min(found))} - {number(max(found))})"
    return text + (f", {len(found)} of {len(found) + failed}" if failed else "")


def verdict(row: Row, turns: Sequence[Turn], sizes: Sizes) -> str:
    """The target for ours, and whether it was met."""
    found = values(turns, OURS, row.key)
    if row.limit is None or not found:
        return ""
    limit = row.limit(sizes)
    return f"{number(limit)}: {'met' if statistics.median(found) <= limit else 'missed'}"


def shortcomings(turns: Sequence[Turn]) -> list[str]:
    """What could not be done, in words; the same in several turns once."""
    found: dict[tuple[str, str, str], list[int]] = {}
    for turn in turns:
        for key, words in turn.words.items():
            found.setdefault((turn.contestant, key, words), []).append(turn.number)
    return [
        f"{TITLES[who]}, {key} ({'turn' if len(numbers) == 1 else 'turns'} "
        f"{', '.join(map(str, numbers))}): {words}"
        for (who, key, words), numbers in found.items()
    ]


def number(value: float) -> str:
    """Three digits that mean something."""
    digits = 0 if value == int(value) or abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """For the terminal."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown(lines: Sequence[Sequence[str]]) -> str:
    head, *rest = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rest))


def cost(parts: Mapping[str, tuple[float, float]]) -> list[tuple[str, ...]]:
    """What the benchmark itself took."""
    found = [(name, *(f"{seconds:.0f}" for seconds in spent)) for name, spent in parts.items()]
    every = [f"{sum(spent[i] for spent in parts.values()):.0f}" for i in (0, 1)]
    return [("part", "wall s", "CPU s"), *found, ("all", *every)]


def shown(document: str, block: str) -> str:
    """The document with this block between its marks; unchanged where it has none."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}\n{block}\n{end}{after}" if begin and end else document
