"""What a cluster's object was asked for, to be read again by the arguments' names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dask_gitops.client.settings import Settings

#: Arguments that can be read, as the existing operator's client has them.
READ = (
    "image",
    "n_workers",
    "resources",
    "env",
    "worker_command",
    "create_mode",
    "port_forward_cluster_ip",
    "scheduler_service_type",
    "scheduler_forward_port",
    "jupyter",
    "idle_timeout",
)


class Asked:
    """:ivar _given: arguments by name.
    :ivar _settings: what they and the configuration come to.
    """

    _given: Mapping[str, Any]
    _settings: Settings


def _reader(name: str) -> property:
    def read(self: Asked) -> Any:
        given = self._given.get(name)
        looked_at = getattr(self._settings, name)
        if name == "scheduler_forward_port":
            return looked_at or None
        return looked_at if given is None or name == "create_mode" else given

    return property(read, doc=f"``{name}`` as it was given, or configured; read only.")


for _name in READ:
    setattr(Asked, _name, _reader(_name))
