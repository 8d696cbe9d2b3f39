"""Runs in the client's pod: what tests ask of Dask. Values are random and never computed twice on purpose,
so that only the very same ones in the workers' memory give the same hashes."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from typing import Any

from distributed import Client, Event, get_worker

client: Client
made: list[Any] = []
sown: list[Any] = []
running: list[Any] = []


def connect(address: str, workers: int) -> list[str]:
    """A new client; returns the names of the workers."""
    global client
    let_go()
    if "client" in globals():
        client.close()
    client = Client(address, timeout="60s")
    client.wait_for_workers(workers, timeout=120)
    return sorted(names().values())


def names() -> dict[str, str]:
    """Name per address."""
    known = client.scheduler_info(n_workers=-1)["workers"]
    return {address: str(worker["name"]) for address, worker in known.items()}


def count_workers(wanted: int, timeout: float = 60) -> int:
    """How many workers the scheduler knows; waits until it is the number that is wanted."""
    end = time.monotonic() + timeout
    while len(names()) != wanted and time.monotonic() < end:
        time.sleep(0.1)
    return len(names())


def heard_of_all(timeout: float = 60) -> bool:
    """Wait until each worker has sent two heartbeats from now on."""
    seen: dict[str, set[float]] = {}
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        for address, worker in client.scheduler_info(n_workers=-1)["workers"].items():
            seen.setdefault(address, set()).add(worker["last_seen"])
        if seen and all(len(times) > 2 for times in seen.values()):
            return True
        time.sleep(0.1)
    raise TimeoutError(f"heartbeats: {seen}")


def compute() -> int:
    """Some tasks on all workers, and their sum."""
    return int(client.submit(sum, client.map(abs, range(-100, 1), pure=False)).result(timeout=60))


def compute_on(group: str) -> list[str]:
    """Names of the workers that ran tasks meant for the workers of one group."""

    def where(_: int) -> str:
        return str(get_worker().name)

    chosen = [address for address, name in names().items() if name.startswith(f"{group}-worker-")]
    futures = client.map(where, range(10), workers=chosen, pure=False)
    return sorted(set(client.gather(futures)))


def hold(random: int, scattered: int, size: int = 1000) -> list[str]:
    """Hold values that exist only in the workers' memory; returns their hashes."""

    def value(_: int) -> bytes:
        return os.urandom(size)

    made[:] = client.map(value, range(random), pure=False)
    sown[:] = client.scatter([os.urandom(size) for _ in range(scattered)])
    return hashes()


def hashes() -> list[str]:
    """What the held values are now."""
    return [hashlib.sha256(value).hexdigest() for value in client.gather([*made, *sown])]


def spread() -> list[int]:
    """How many of the held values each worker has."""
    held = {future.key for future in [*made, *sown]}
    return sorted(len(held & set(keys)) for keys in client.has_what().values())


def run_gated(count: int) -> int:
    """Start tasks that end when `open_gate` is called; returns how many have started, once all have."""

    def gated(number: int) -> int:
        get_worker().log_event("starts", number)
        Event("gate").wait(timeout=180)
        return number

    Event("gate").clear()
    running[:] = client.map(gated, range(count), pure=False, workers=None)
    end = time.monotonic() + 60
    while len(starts()) < count and time.monotonic() < end:
        time.sleep(0.1)
    return len(starts())


def start_gated(count: int) -> None:
    """Tasks that end when `open_gate` is called; nobody waits for their start."""

    def gated(number: int) -> int:
        get_worker().log_event("starts", number)
        Event("gate").wait(timeout=180)
        return number

    Event("gate").clear()
    running[:] = client.map(gated, range(count), pure=False)


def seconds_to_second_worker(count: int) -> float:
    """Submit so many gated tasks; how long until one of them runs on a worker that was not there."""
    known, began = set(names()), time.monotonic()
    start_gated(count)
    while time.monotonic() < began + 120:
        there = client.run_on_scheduler(busy_workers)
        if set(there) - known:
            return time.monotonic() - began
        time.sleep(0.05)
    raise TimeoutError(f"{names()}")


def busy_workers(dask_scheduler: Any) -> list[str]:
    """Addresses of the workers that run something, as their heartbeats say."""
    return [address for address, ws in dask_scheduler.workers.items() if ws.executing]


def wait_for_worker(name: str) -> bool:
    """Until a worker of this name computes."""
    end = time.monotonic() + 120
    while name not in names().values():
        if time.monotonic() > end:
            raise TimeoutError(f"{names()}")
        time.sleep(0.05)
    (address,) = [address for address, called in names().items() if called == name]
    return bool(client.submit(abs, -1, pure=False, workers=[address]).result(timeout=60))


def forget_running() -> None:
    """Let their results go."""
    running.clear()


gpu: list[Any] = []


def on_gpus(count: int) -> list[str]:
    """Tasks that need a GPU; returns the groups of the workers that ran them."""

    def where(_: int) -> str:
        time.sleep(3)
        return str(get_worker().name)

    gpu[:] = client.map(where, range(count), pure=False, resources={"GPU": 1})
    found = {name.rpartition("-worker-")[0] for name in client.gather(gpu)}
    return sorted(found)


def gpu_workers() -> int:
    """How many workers computed them."""
    return len(set(client.gather(gpu)))


def gpu_results() -> int:
    return len(client.gather(gpu))


def load_for(seconds: float, width: int) -> None:
    """Work for so many workers that lasts about so long; none of it is waited for, and no result is kept."""
    from distributed import fire_and_forget

    end = time.time() + seconds

    def work(until: float) -> None:
        while time.time() < until:
            time.sleep(0.1)

    fire_and_forget(client.map(work, [end] * width, pure=False))


def starts() -> dict[str, int]:
    """How often each of the gated tasks was started, in the scheduler's memory of events."""
    return {str(n): c for n, c in Counter(n for _, n in client.get_events("starts")).items()}


def open_gate() -> None:
    """Let the gated tasks end."""
    Event("gate").set()


def results() -> list[int]:
    """What the gated tasks returned."""
    return list(client.gather(running))


def removed() -> list[dict[str, Any]]:
    """The scheduler's own words on the workers that left: name, whether expected, results lost."""
    events = [event for _, event in client.get_events("all")]
    return [
        {
            "worker": event["worker"],
            "expected": event.get("expected"),
            "lost": len(event.get("lost-computed-tasks") or ())
            + len(event.get("lost-scattered-tasks") or ()),
        }
        for event in events
        if isinstance(event, dict) and event.get("action") == "remove-worker"
    ]


def let_go() -> None:
    """Forget all futures."""
    for futures in (made, sown, running):
        futures.clear()
