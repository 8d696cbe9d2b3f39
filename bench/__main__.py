"""Measure the controller beside the existing operator, and beside the plainest way to do the same.

`make bench BENCH="full --turns 5"` gives these words to the command.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bench import ROOT, machine
from bench.contest import BESIDE, Contest
from bench.lab import Failure, alone, say
from bench.report import BESIDE as BESIDE_ROWS
from bench.report import (
    CLIENT,
    IDLE,
    Row,
    aligned,
    cost,
    markdown,
    medians,
    shortcomings,
    shown,
    table,
)
from bench.turns import Sizes

RESULTS = Path(__file__).parent / "results"
SHOW_IT = (ROOT / "README.md", ROOT / "bench" / "README.md")


@dataclass(frozen=True)
class Measure:
    """What can be asked for by name.

    :ivar takes: on two quiet cores.
    """

    about: str
    takes: str
    run: Callable[[Contest], None]
    sizes: Sizes
    rows: tuple[Row, ...] = BESIDE_ROWS


MEASURES = {
    "beside": Measure(
        "scaling, many clusters, deletion on pretended pods, and the first result on the real "
        "node, beside the existing operator; writes bench/results/latest.md",
        "5 min",
        Contest.beside,
        Sizes(),
    ),
    "full": Measure(
        "the same with 1,000 workers and 100 clusters",
        "25 min",
        Contest.beside,
        Sizes(workers=1000, clusters=100, patience_s=600),
    ),
    "idle-long": Measure(
        "100 clusters left alone for 2 minutes, and autoscaled ones for 5",
        "8 min",
        Contest.idle,
        Sizes(clusters=100, patience_s=600),
        IDLE,
    ),
    "client": Measure(
        "KubeCluster to the first result, from_name, scale, close and import, outside and in a Pod, "
        "each beside the existing client with its own operator; needs the real node",
        "2 min a turn",
        Contest.python,
        Sizes(),
        CLIENT,
    ),
}
HANDOVER = "handover"


def parser() -> argparse.ArgumentParser:
    lines = [f"  {name:<10} {one.takes:>7}  {one.about}" for name, one in MEASURES.items()]
    lines.append(f"  {HANDOVER:<10} {'10 min':>7}  workers that end hand over; needs no Kubernetes")
    top = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog="\n".join(["measures, and how long they take on two quiet cores:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [*MEASURES, HANDOVER]
    top.add_argument(
        "names", nargs="*", metavar="NAME", help=f"{', '.join(names)} (default: beside)"
    )
    top.add_argument("--turns", type=int, default=3, metavar="N", help="default: %(default)s")
    top.add_argument(
        "--only",
        default=BESIDE,
        metavar="LETTERS",
        help="of beside and full: bcdg; or `client`, which is that measure",
    )
    return top


def asked() -> argparse.Namespace:
    """The options, checked."""
    top = parser()
    options = top.parse_args()
    if options.only == "client":
        options.names, options.only = [*options.names, "client"], BESIDE
    options.names = options.names or ["beside"]
    if unknown := set(options.names) - {*MEASURES, HANDOVER}:
        top.error(f"no such measure: {', '.join(sorted(unknown))}; --help lists them")
    if not options.only or not set(options.only) <= set(BESIDE):
        top.error(f"--only {options.only}: choose letters from {BESIDE}")
    if options.turns < 1:
        top.error(f"--turns {options.turns}: at least one is needed")
    return options


def measure(name: str, options: argparse.Namespace) -> int:
    """Run one, print its table and write it down; also what was found before a failure."""
    what, code, started = MEASURES[name], 0, time.monotonic()
    contest = Contest(what.sizes, options.only, options.turns)
    before, date = machine.load(), machine.now()
    try:
        with alone():
            what.run(contest)
    except Failure as failure:
        say(f"failed: {failure}")
        code = 1
    except KeyboardInterrupt:
        say("interrupted")
        code = 130
    if any(turn.values for turn in contest.found):
        loads = machine.load_words(before, machine.load(), os.cpu_count() or 1)
        print(aligned(table(contest.found, what.sizes, what.rows)))
        print("\n".join(["", *shortcomings(contest.found), f"{machine.described()}; {loads}"]))
        print(aligned(cost(contest.clock.parts)))
        print(f"{name}: {time.monotonic() - started:.0f} s; written to {write(name, contest)}")
        if name == "beside" and not code and set(options.only) == set(BESIDE):
            publish(contest, what, date, loads)
    return code


def write(name: str, contest: Contest) -> Path:
    """Everything that was found, as JSON."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{datetime.now():%Y-%m-%d-%H%M%S}-{name}.json"
    content = {
        "machine": machine.described(),
        "versions": machine.versions(contest.kubernetes, contest.peer_versions),
        "load": os.getloadavg(),
        "sizes": vars(contest.sizes),
        "medians": medians(contest.found),
        "turns": [vars(turn) for turn in contest.found],
        "parts": contest.clock.parts,
    }
    file.write_text(json.dumps(content, indent=2) + "\n")
    return file


def publish(contest: Contest, what: Measure, date: str, loads: str) -> None:
    """The table as bench/results/latest.md, and its headlines where the READMEs show them."""
    missing = shortcomings(contest.found) or ["Nothing."]
    text = [
        "# The last full run of `make bench`",
        f"{date}; {machine.described()}; {loads}.",
        f"{machine.versions(contest.kubernetes, contest.peer_versions)}.",
        f"Median (least - most) of turns of each: {contest.turns}. The plain way was measured with each of them, so twice as often.",
        markdown(table(contest.found, what.sizes, what.rows)),
        "What could not be done:",
        "\n".join(f"- {line}" for line in missing),
        "What the run itself took (CPU without that of the Pods on the real node):",
        markdown(cost(contest.clock.parts)),
    ]
    (RESULTS / "latest.md").write_text("\n\n".join(text) + "\n")
    few = markdown(table(contest.found, what.sizes, what.rows, headlines=True))
    block = f"{few}\n\n{date}; {machine.described()}; {loads}."
    for file in SHOW_IT:
        file.write_text(shown(file.read_text(), block))
    say(f"written to {RESULTS / 'latest.md'}")


def main() -> int:
    options = asked()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: everything is cleaned up
    code = 0
    for name in options.names:
        if name == HANDOVER:
            words = [sys.executable, "-m", "bench.handover", "--repetitions", str(options.turns)]
            code = subprocess.call(words) or code
        else:
            code = measure(name, options) or code
        if code == 130:
            break
    return code


if __name__ == "__main__":
    sys.exit(main())
