"""Measure the controller on fake nodes: python -m bench --help."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.lab import Failure, Lab, control_plane, controller, say
from bench.measures import Bench, Result, Sizes
from bench.raw import connect
from bench.report import aligned, medians, table

RESULTS = Path(__file__).parent / "results"


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    top.add_argument("--quick", action="store_true", help="one repetition, smaller sizes")
    top.add_argument("--only", metavar="A,B", help="of a, b, c, d, e, f; what they need runs too")
    top.add_argument("--repetitions", type=int, metavar="N", help="default: 3")
    top.add_argument("--keep", action="store_true", help="reuse the control plane and leave it up")
    return top


def chosen(text: str | None) -> set[str]:
    """The letters, and what they are compared with or build on."""
    letters = set(text.replace(" ", "").split(",")) if text else set("abcdef")
    if not letters <= set("abcdef"):
        raise Failure(f"--only {text}: choose from a, b, c, d, e, f")
    needs = {"b": "ab", "d": "abd", "e": "ce", "f": "cf"}
    return {need for letter in letters for need in needs.get(letter, letter)}


async def repetition(lab: Lab, sizes: Sizes, letters: set[str]) -> tuple[Result, dict[str, Any]]:
    """All measurements once, what is compared side by side."""
    async with connect(lab) as raw, raw.eye() as eye:
        bench = Bench(lab, raw, eye, sizes, {}, {})
        await bench.clear()
        if "a" in letters:
            say("  a, d: raw loop, then deletecollection")
            await bench.raw_create_and_delete()
            await bench.clear()
        if "c" in letters:
            say("  c: kubectl apply without the controller")
            await bench.apply_alone()
            await bench.clear()
        if letters <= {"a"}:
            return bench.result, bench.notes
        async with controller(lab) as process:
            if "b" in letters:
                say(f"  b: scale to {sizes.workers}")
                await bench.scale_up(process)
            if "d" in letters:
                say("  d: delete the cluster")
                await bench.delete_cluster(process)
            await bench.clear()
            if "c" in letters:
                say(f"  c: {sizes.clusters} clusters")
                await bench.many_clusters(process)
            if "e" in letters:
                say(f"  e: idle for {sizes.idle_s:.0f} s")
                await bench.idle(process)
            if "f" in letters:
                say(
                    f"  f: {sizes.clusters} of them autoscaled, idle for {sizes.scaled_idle_s:.0f} s"
                )
                await bench.autoscaled(process)
            await bench.clear()
        return bench.result, bench.notes


async def warm_up(lab: Lab) -> None:
    """The first pods of a new control plane are slow, whoever makes them."""
    async with connect(lab) as raw, raw.eye() as eye:
        bench = Bench(lab, raw, eye, Sizes(workers=100), {}, {})
        await bench.clear()
        await bench.raw_create_and_delete()
        await bench.clear()


async def measure(
    lab: Lab, sizes: Sizes, letters: set[str], repetitions: int, done: list[Any]
) -> None:
    """:param done: gets what each repetition found, so that a failure later on does not lose it."""
    say("warming up")
    await warm_up(lab)
    for number in range(1, repetitions + 1):
        say(f"repetition {number} of {repetitions}")
        done.append(await repetition(lab, sizes, letters))


def write(done: list[Any], sizes: Sizes) -> Path:
    results = [result for result, _ in done]
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{datetime.now():%Y-%m-%d-%H%M%S}.json"
    content = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": {
            "cores": os.cpu_count(),
            "load": os.getloadavg(),
            "python": platform.python_version(),
        },
        "sizes": vars(sizes),
        "medians": medians(results),
        "repetitions": results,
        "notes": [notes for _, notes in done],
    }
    file.write_text(json.dumps(content, indent=2) + "\n")
    return file


def main() -> int:
    options = parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: everything is cleaned up
    sizes = (
        Sizes(workers=200, clusters=20, idle_s=20, scaled_idle_s=20) if options.quick else Sizes()
    )
    started = time.monotonic()
    done: list[Any] = []
    code = 0
    try:
        letters = chosen(options.only)
        repetitions = options.repetitions or (1 if options.quick else 3)
        with control_plane(keep=options.keep) as lab:
            asyncio.run(measure(lab, sizes, letters, repetitions, done))
    except Failure as failure:
        say(f"failed: {failure}")
        code = 1
    except KeyboardInterrupt:
        say("interrupted")
        code = 130
    if done:
        file = write(done, sizes)
        print(aligned(table([result for result, _ in done], sizes)))
        passed = time.monotonic() - started
        print(f"\n{len(done)} repetition(s), {passed:.0f} s; written to {file}")
    return code


if __name__ == "__main__":
    sys.exit(main())
