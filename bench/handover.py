"""How fast a worker that is told to end hands its keys over, beside Dask's own retire_workers.

`python -m bench.handover [--megabytes 10,100,500] [--repetitions 3]`. Real processes on loopback: a scheduler and three
workers of one thread; one of them holds all values, each a megabyte (and a row of many small ones), and leaves. Seconds
count until its process has ended; for retire_workers until the call answers. A value that is lost fails the run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.unit.scheduler.processes import cluster

WAYS = ("retire_workers", "SIGTERM, nanny", "SIGTERM, no nanny")
SMALL = (10_000, 1_000)  # keys, bytes


def value(_: int, size: int) -> bytes:
    return os.urandom(size)


async def once(way: str, keys: int, size: int) -> float:
    """Seconds of one hand-over."""
    with tempfile.TemporaryDirectory() as folder:
        async with cluster(Path(folder)) as c:
            for name in ("a", "b"):
                c.start_worker("--name", name, "--no-nanny")
            words = ["--no-nanny"] if way.endswith("no nanny") else []
            process = c.start_worker("--name", "goes", *words)
            address = (await c.workers(3))["goes"]
            futures = c.client.map(value, range(keys), size=size, workers=[address], pure=False)
            await c.client.run_on_scheduler(settled, keys)
            start = time.monotonic()
            if way == WAYS[0]:
                await c.client.retire_workers([address])
                seconds = time.monotonic() - start
            else:
                process.send_signal(signal.SIGTERM)
                seconds = await c.ended(process, timeout=600)
            await c.workers(2)
            assert len(futures) == keys
            for event in await c.removals():
                if event.get("lost-computed-tasks") or not event.get("expected", True):
                    sys.exit(f"{way}: lost {len(event['lost-computed-tasks'])} of {keys} values")
            return seconds


async def settled(keys: int, dask_scheduler: Any) -> None:
    """Until all values are there."""
    while sum(len(ws.has_what) for ws in dask_scheduler.workers.values()) < keys:
        await asyncio.sleep(0.1)


def table(megabytes: Sequence[int], repetitions: int) -> None:
    sizes = [(n, 1_000_000) for n in megabytes] + [SMALL]
    print(f"{'keys':>8} {'MB':>6}  {'way':20} {'s':>7} {'min':>7} {'max':>7} {'MB/s':>7}")
    for keys, size in sizes:
        for way in WAYS:
            found = [asyncio.run(once(way, keys, size)) for _ in range(repetitions)]
            middle, total = statistics.median(found), keys * size / 1e6
            numbers = f"{middle:7.2f} {min(found):7.2f} {max(found):7.2f} {total / middle:7.1f}"
            print(f"{keys:8} {total:6.0f}  {way:20} {numbers}", flush=True)


def main() -> None:
    top = argparse.ArgumentParser(prog="python -m bench.handover", description=__doc__)
    top.add_argument(
        "--megabytes", default="10,100,500", metavar="A,B", help="default: %(default)s"
    )
    top.add_argument("--repetitions", type=int, default=3, metavar="N", help="default: 3")
    options = top.parse_args()
    table([int(n) for n in options.megabytes.split(",")], options.repetitions)


if __name__ == "__main__":
    main()
