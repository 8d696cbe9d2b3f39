"""What tests run inside schedulers and workers. Imports nothing heavy: a process imports it with its first task."""

import multiprocessing
import os
import time


def names(dask_scheduler):
    return {str(ws.name): address for address, ws in dask_scheduler.workers.items()}


async def remove(address, dask_scheduler):
    await dask_scheduler.remove_worker(address, stimulus_id="test", close=False)


def terminated_child():
    """Exit code of a process that this one forks and terminates, as pools do."""
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    multiprocessing.current_process()._config["daemon"] = False  # else it may have no children
    child.start()
    time.sleep(0.5)
    child.terminate()
    child.join(60)
    return child.exitcode


def random_value(_):
    return os.urandom(16)


def gated(log, gate):
    """A task that says that it started, and ends when the file `gate` exists."""
    with open(log, "a") as f:
        f.write("started\n")
    while not os.path.exists(gate):
        time.sleep(0.01)
    return os.urandom(8)


def starts(log):
    return len(log.read_text().splitlines()) if log.exists() else 0
