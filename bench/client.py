"""A Dask client as a process of its own, started before the clock: line by line in which scheduler it shall compute.

Each line on its input is JSON with host, workers and within (seconds); each answer is JSON with the moment
(``time.monotonic()``, which all processes of a machine share) at which every worker had given a result, or an error.
"""

from __future__ import annotations

import json
import operator
import socket
import sys
import time
from typing import Any

from distributed import Client, wait

PORT = 8786
EVERY_S = 0.05


def compute(host: str, workers: int, within: float) -> float:
    """The moment at which each of so many workers has computed something."""
    deadline = time.monotonic() + within
    while True:
        try:
            socket.create_connection((host, PORT), 1).close()
            break
        except OSError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the scheduler does not listen within {within:.0f} s") from None
            time.sleep(EVERY_S)
    with Client(f"tcp://{host}:{PORT}", timeout=left(deadline)) as client:
        try:
            client.wait_for_workers(workers, timeout=left(deadline))
        except TimeoutError:
            there = len(client.scheduler_info(n_workers=-1)["workers"])
            raise TimeoutError(
                f"{there} workers came within {within:.0f} s, not {workers}"
            ) from None
        addresses = list(client.scheduler_info(n_workers=-1)["workers"])
        sums = [client.submit(operator.add, 1, 1, workers=[a], pure=False) for a in addresses]
        wait(sums, timeout=left(deadline))
        assert client.gather(sums) == [2] * workers
        return time.monotonic()


def left(deadline: float) -> float:
    return max(0.1, deadline - time.monotonic())


def main() -> None:
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        answer: dict[str, Any]
        try:
            answer = {"moment": compute(**json.loads(line))}
        except Exception as error:  # told, not guessed at; the next line is another scheduler
            answer = {"error": str(error) or type(error).__name__}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
