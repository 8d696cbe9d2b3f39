"""A user of one of the two Python clients as a process of its own, outside or in a Pod: line by line what it shall do.

``python kubecluster.py MODULE``, whose `KubeCluster` is meant. Each line on its input is JSON with ``do``, a name below,
and its arguments; each answer is JSON with what that gave, or an error. The file imports nothing of its folder, as a Pod
has no other of it. Moments are of ``time.monotonic()``, which all processes of a machine share.
"""

from __future__ import annotations

import importlib
import json
import operator
import os
import sys
import time
from typing import Any

import distributed

NAME = "bench"
WITHIN_S = 120.0
EVERY_S = 0.01


class User:
    """:ivar cluster: the one that was made last."""

    def __init__(self, module: str) -> None:
        began = time.monotonic()
        self.made = importlib.import_module(module)
        self.kind = self.made.KubeCluster
        self.import_s = time.monotonic() - began
        self.cluster: Any = None

    def start(self, n_workers: int, image: str, **options: Any) -> float:
        """Seconds from the call to the first result."""
        spec = self.spec(n_workers=n_workers, image=image)
        began = time.monotonic()
        self.cluster = self.kind(
            custom_cluster_spec=spec, n_workers=n_workers, quiet=True, **options
        )
        with distributed.Client(self.cluster) as client:
            first(client)
        return time.monotonic() - began

    def attach(self) -> float:
        """Seconds until an object has found the cluster by its name, and computed nothing."""
        began = time.monotonic()
        same = self.kind.from_name(NAME, quiet=True, shutdown_on_close=False)
        took = time.monotonic() - began
        same.close()
        return took

    def scale(self, workers: int) -> float:
        """Seconds until so many are registered."""
        with distributed.Client(self.cluster) as client:
            began = time.monotonic()
            self.cluster.scale(workers)
            while len(client.scheduler_info(n_workers=-1)["workers"]) < workers:
                if time.monotonic() > began + WITHIN_S:
                    raise TimeoutError(f"not {workers} workers within {WITHIN_S:.0f} s")
                time.sleep(EVERY_S)
            return time.monotonic() - began

    def close(self) -> float:
        """Seconds."""
        began = time.monotonic()
        self.cluster.close()
        return time.monotonic() - began

    def spec(self, **options: Any) -> Any:
        """The cluster as an object. Images of today have no `dask-scheduler`, and the existing operator runs what is written."""
        made = self.made.make_cluster_spec(name=NAME, **options)
        for part in ("scheduler", "worker"):
            (container,) = made["spec"][part]["spec"]["containers"]
            if container["args"][0] == f"dask-{part}":
                container["args"][:1] = ["dask", part]
        return made

    def floor(self, address: str) -> float:
        """The moment of the first result of a cluster whose address is known."""
        with distributed.Client(address, timeout=WITHIN_S) as client:
            first(client)
        return time.monotonic()


def first(client: distributed.Client) -> None:
    assert client.submit(operator.add, 1, 1, pure=False).result(timeout=WITHIN_S) == 2


def main(module: str) -> None:
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what others print belongs into the log

    def say(**told: Any) -> None:
        print(json.dumps(told), file=output, flush=True)

    user = User(module)
    say(gave=user.import_s)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            say(gave=getattr(user, asked.pop("do"))(**asked))
        except Exception as error:  # told, not guessed at
            say(error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(sys.argv[1])
