"""Pure: the port of the control API inside a scheduler's Pod, on which our probes are answered, too.

It is chosen when the Pod is made, and stands in a variable of the scheduler's container from then on: that is what the
server there listens on, and where everybody else reads it. It has a name among the container's ports, too.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from dask_gitops.model.podspec import Container, PodSpec
from dask_gitops.resources import names

JSON = dict[str, Any]

PORT_ENV = "SCHEDULER_CONTROL_PORT"
PORT_NAME = "control"
# On the network of a node: below those that Kubernetes gives to Services, and Linux to outgoing connections.
_HOST_PORTS = range(20_000, 30_000)
_DASKS = {names.COMM_PORT, names.DASHBOARD_PORT, names.WORKER_DASHBOARD_PORT}


def choose(read: PodSpec, container: Container, identity: str) -> int:
    """The port for a new scheduler Pod: 8789, unless the Pod's own words hold that number.

    A person may fix it, by the variable. On the network of a node, where other schedulers may be, each cluster has
    another one, the same for all its Pods.

    :param container: the one that runs the scheduler.
    :param identity: the cluster's uid.
    """
    fixed = declared(container)
    if fixed is not None:
        return fixed
    taken = _numbers([c.fields for c in (*read.containers, *read.init_containers)]) | _DASKS
    first: int = names.CONTROL_PORT
    if read.host_network:
        digest = hashlib.sha256(identity.encode()).digest()
        first = _HOST_PORTS[int.from_bytes(digest[:8], "big") % len(_HOST_PORTS)]
    free = (n for n in (*range(first, 2**16), *range(1024, first)) if n not in taken)
    return next(free, first)


def declared(container: Container) -> int | None:
    """The port that a container's variable tells; None: it tells none, as in Pods of earlier versions."""
    return names.port_number(container.env.get(PORT_ENV) or "")


def _numbers(words: Any) -> set[int]:
    """All that may be a port, wherever it stands: arguments, variables, ports, probes."""
    return {int(n) for n in re.findall(r"\d+", json.dumps(words)) if len(n) < 6}
