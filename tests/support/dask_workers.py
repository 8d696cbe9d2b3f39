"""Which Dask workers a pretended worker pod runs: ``dask worker --nworkers 3`` is three of them with one address."""

from __future__ import annotations

import re
from typing import Any

JSON = dict[str, Any]


def processes(pod: JSON) -> int:
    """How many, as its command says."""
    words = (
        w for c in pod["spec"]["containers"] for w in [*c.get("command", ()), *c.get("args", ())]
    )
    found = re.search(r"--nworkers[ =](\d+)", " ".join(map(str, words)))
    return int(found[1]) if found else 1


def worker_ids(life: str, pod: JSON) -> list[str]:
    """Their server ids.

    :param life: what tells this pod, or this start of its containers, from all others.
    """
    many = processes(pod)
    return [life] if many == 1 else [f"{life}#{n}" for n in range(many)]


def worker_name(worker: str, pod: JSON) -> str:
    """Dask calls several in one pod <name>-0, <name>-1 ..."""
    name, number = pod["metadata"]["name"], worker.partition("#")[2]
    return f"{name}-{number}" if number else str(name)
