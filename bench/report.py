"""The table of results."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.measures import Result, Sizes

Medians = dict[str, float]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    :ivar target: from the medians of one run, and its words; None: for information only.
    :ivar before: measured with the existing operator, at full size.
    """

    key: str
    words: str
    unit: str
    target: Callable[[Medians, Sizes], float | None] | None = None
    target_words: str = ""
    before: str = ""


def times(factor: float, key: str) -> Callable[[Medians, Sizes], float | None]:
    return lambda medians, sizes: factor * medians[key] if key in medians else None


def below(limit: float) -> Callable[[Medians, Sizes], float | None]:
    return lambda medians, sizes: limit


def leases(medians: Medians, sizes: Sizes) -> float:
    return sizes.idle_s / 2


def autoscaled_cpu(medians: Medians, sizes: Sizes) -> float:
    return 0.1 * sizes.scaled_idle_s


ROWS = (
    Row("a", "a  {workers} pods, raw loop", "s", before="5.2 - 6.0"),
    Row("b", "b  scale 3 -> {workers}", "s", times(1.25, "a"), "1.25 x a", "45.7"),
    Row("b_cpu", "b  its CPU", "s", before="15"),
    Row("b_memory", "b  memory, {workers} workers", "MiB", below(120), "120"),
    Row("c_alone", "c  kubectl apply, nobody answers", "s"),
    Row("c", "c  {clusters} clusters of 3", "s", below(15), "15", "198"),
    Row("c_apply", "c  of it kubectl apply", "s"),
    Row("c_cpu", "c  its CPU", "s"),
    Row("d_raw", "d  {workers} pods, deletecollection", "s"),
    Row("d", "d  cluster of {workers} deleted", "s", times(1.25, "d_raw"), "1.25 x raw", "19.5"),
    Row("d_cpu", "d  its CPU", "s"),
    Row("e_cpu", "e  {clusters} idle for {idle_s:.0f} s: CPU", "s", below(0.5), "0.5"),
    Row("e_memory", "e  memory, {clusters} clusters", "MiB", before="330"),
    Row("e_requests", "e  requests", "", below(0), "0"),
    Row("e_leases", "e  Lease writes", "", leases, "1 per 2 s"),
    Row("e_watches", "e  watches begun", ""),
    Row(
        "f_cpu",
        "f  {clusters} autoscaled, idle for {scaled_idle_s:.0f} s: CPU",
        "s",
        autoscaled_cpu,
        "10 % of a core",
    ),
    Row("f_memory", "f  memory", "MiB"),
    Row("f_requests", "f  requests", "", below(0), "0", "18000"),
    Row("f_calls", "f  calls of schedulers", "", before="6000"),
)
HEAD = ("", "median", "min", "max", "unit", "target", "ok?", "existing operator")


def medians(results: Sequence[Result]) -> Medians:
    keys = {key for result in results for key in result}
    return {key: statistics.median(r[key] for r in results if key in r) for key in keys}


def table(results: Sequence[Result], sizes: Sizes) -> list[tuple[str, ...]]:
    middle = medians(results)
    lines: list[tuple[str, ...]] = [HEAD]
    for row in ROWS:
        values = [r[row.key] for r in results if row.key in r]
        if not values:
            continue
        target = row.target(middle, sizes) if row.target else None
        verdict = "" if target is None else "ok" if middle[row.key] <= target else "missed"
        words = row.target_words
        if target is not None and " x " in words:
            words += f" = {number(target)}"
        lines.append(
            (
                row.words.format(**vars(sizes)),
                *(number(v) for v in (middle[row.key], min(values), max(values))),
                row.unit,
                words,
                verdict,
                row.before,
            )
        )
    return lines


def number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) or value >= 100 else f"{value:.2f}"


def aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if 1 <= column <= 3 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
