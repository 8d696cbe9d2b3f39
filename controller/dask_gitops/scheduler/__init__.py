"""The user's Dask scheduler: what runs inside it (`control`), and the client that talks to it."""

from dask_gitops.scheduler.client import (
    Outcome,
    SchedulerClient,
    State,
    WorkerRow,
    base_url,
)
from dask_gitops.scheduler.errors import SchedulerUnavailable
from dask_gitops.scheduler.source import (
    PORT_ENV,
    PRELOAD,
    PRELOAD_ENV,
    SOURCE_ENV,
    TOKEN_ENV,
    control_source,
)

__all__ = [
    "PORT_ENV",
    "PRELOAD",
    "PRELOAD_ENV",
    "SOURCE_ENV",
    "TOKEN_ENV",
    "Outcome",
    "SchedulerClient",
    "SchedulerUnavailable",
    "State",
    "WorkerRow",
    "base_url",
    "control_source",
]
