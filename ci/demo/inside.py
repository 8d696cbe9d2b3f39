"""Runs in the client's pod, where `remote.py` sends it: what a user of the Dask cluster would write."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from typing import Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
from distributed import Client, get_task_stream, get_worker

client: Client
made: list[Any] = []  # futures of random values: computing one again would give another value
sown: list[Any] = []  # scattered values: they cannot be computed again at all
going: list[Any] = []  # futures of a computation that goes on until it is told to end
started: set[tuple[float, int]] = set()  # when which of its tasks was started


def connect(address: str, workers: int) -> list[str]:
    """A client of the cluster; returns the names of its workers."""
    global client
    client = Client(address, timeout="60s")
    client.wait_for_workers(workers, timeout=120)
    return sorted(names().values())


def names() -> dict[str, str]:
    """Name per address of the workers that the scheduler knows."""
    known = client.scheduler_info(n_workers=-1)["workers"]
    return {address: str(worker["name"]) for address, worker in known.items()}


def array(side: int, chunk: int) -> dict[str, Any]:
    """The sum and the greatest element of x + its transpose; x counts 0, 1, 2 ... row by row."""

    def block(i: Any, j: Any) -> Any:
        return i * side + j

    with get_task_stream(client=client) as stream:
        x = da.fromfunction(block, shape=(side, side), chunks=chunk, dtype="int64")
        y = x + x.T
        total, greatest = da.compute(y.sum(), y.max())
    numbers = {"sum": int(total), "max": int(greatest), "megabytes": x.nbytes // 10**6}
    return numbers | {"tasks": took_part(stream.data)}


def frame(partitions: int, rows: int, groups: int) -> dict[str, Any]:
    """Rows 0, 1, 2 ... grouped by their number modulo `groups`: count and sum of each group."""

    def part(first: int) -> Any:
        number = np.arange(first, first + rows, dtype="int64")
        return pd.DataFrame({"group": number % groups, "number": number})

    with get_task_stream(client=client) as stream:
        df = dd.from_map(part, range(0, partitions * rows, rows), meta=part(0).head(0))
        found = df.groupby("group")["number"].agg(["count", "sum"]).compute().sort_index()
    return {
        "counts": [int(n) for n in found["count"]],
        "sums": [int(n) for n in found["sum"]],
        "megabytes": partitions * rows * 16 // 10**6,
        "tasks": took_part(stream.data),
    }


def took_part(records: list[dict[str, Any]]) -> dict[str, int]:
    """Tasks per worker."""
    known = names()
    return dict(sorted(Counter(known.get(r["worker"], r["worker"]) for r in records).items()))


def hold(random: int, scattered: int, size: int) -> dict[str, Any]:
    """Hold values that exist only in the workers' memory."""

    def value(_: int) -> bytes:
        return os.urandom(size)

    made[:] = client.map(value, range(random), pure=False)
    sown[:] = client.scatter([os.urandom(size) for _ in range(scattered)])
    return {"hashes": hashes(), "keys": keys()}


def hashes() -> list[str]:
    """What the held values are now."""
    return [hashlib.sha256(value).hexdigest() for value in client.gather([*made, *sown])]


def keys() -> dict[str, int]:
    """How many of the held values each worker has."""
    known = names()
    held = {f.key for f in [*made, *sown]}
    return {known[a]: len(held & set(has)) for a, has in client.has_what().items()}


def let_go() -> None:
    """Forget the held values."""
    made.clear()
    sown.clear()


def go_on(ahead: int, seconds: float = 0.5) -> int:
    """Have this many tasks of the computation waiting or running; returns how many are done. Results are kept."""

    def task(number: int) -> int:
        get_worker().log_event("started", number)
        time.sleep(seconds)
        return number * number

    note_starts()
    done = sum(future.done() for future in going)
    new = range(len(going), done + ahead)
    going.extend(client.map(task, new, pure=False))
    return done


def note_starts() -> None:
    """The scheduler remembers the last 1,000 only."""
    started.update(client.get_events("started"))


def come_to_an_end() -> dict[str, list[int]]:
    """The results of all tasks in order, and how often each was started."""
    results = client.gather(going)
    note_starts()
    times = Counter(number for _, number in started)
    going.clear()
    started.clear()
    return {"results": results, "starts": [times[number] for number in range(len(results))]}


def variable(name: str) -> list[str]:
    """The values that an environment variable has in the workers, "" where there is none."""
    found = client.run(lambda: os.environ.get(name, ""))
    return sorted(set(found.values()))


def removed() -> list[dict[str, Any]]:
    """The scheduler's own words on the workers that left, oldest first."""
    events = [event for _, event in client.get_events("all")]
    wanted = ("worker", "expected", "lost-computed-tasks", "lost-scattered-tasks")
    return [
        {
            key: len(event[key]) if isinstance(event[key], (dict, list, set)) else event[key]
            for key in wanted
            if key in event
        }
        for event in events
        if isinstance(event, dict) and event.get("action") == "remove-worker"
    ]


def small() -> int:
    """A small computation."""
    total: int = client.submit(sum, range(1001), pure=False).result(timeout=60)
    return total
