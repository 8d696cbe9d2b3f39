"""Dask clusters on Kubernetes, declared as custom resources (group kubernetes.dask.org).

    from dask_gitops import KubeCluster

Importing the package costs nothing: a name is looked up when it is first used, as the controller,
which has no Dask, imports it too.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client.arguments import CreateMode as CreateMode
    from .client.classic.auth import InCluster as InCluster
    from .client.classic.auth import KubeAuth as KubeAuth
    from .client.classic.auth import KubeConfig as KubeConfig
    from .client.classic.spec import make_pod_spec as make_pod_spec
    from .client.cluster import KubeCluster as KubeCluster
    from .client.discovery import discover as discover
    from .client.errors import ClusterExistsError as ClusterExistsError
    from .client.errors import ClusterNotFoundError as ClusterNotFoundError
    from .client.errors import ControllerSilentError as ControllerSilentError
    from .client.errors import CrashLoopBackOffError as CrashLoopBackOffError
    from .client.errors import CustomResourcesMissingError as CustomResourcesMissingError
    from .client.errors import DaskGitopsError as DaskGitopsError
    from .client.errors import NoKubernetesError as NoKubernetesError
    from .client.errors import NotAllowedError as NotAllowedError
    from .client.errors import SchedulerStartupError as SchedulerStartupError
    from .client.errors import ValidationError as ValidationError
    from .client.errors import WorkerGroupNotFoundError as WorkerGroupNotFoundError
    from .client.errors import WorkerStartTimeoutError as WorkerStartTimeoutError
    from .client.spec import make_cluster_spec as make_cluster_spec
    from .client.spec import make_scheduler_spec as make_scheduler_spec
    from .client.spec import make_worker_spec as make_worker_spec

__version__ = "0.1.0"

#: Name -> module below this package.
_PLACES = {
    "ClusterExistsError": "client.errors",
    "ClusterNotFoundError": "client.errors",
    "ControllerSilentError": "client.errors",
    "CrashLoopBackOffError": "client.errors",
    "CreateMode": "client.arguments",
    "CustomResourcesMissingError": "client.errors",
    "DaskGitopsError": "client.errors",
    "InCluster": "client.classic.auth",
    "KubeAuth": "client.classic.auth",
    "KubeCluster": "client.cluster",
    "KubeConfig": "client.classic.auth",
    "NoKubernetesError": "client.errors",
    "NotAllowedError": "client.errors",
    "SchedulerStartupError": "client.errors",
    "ValidationError": "client.errors",
    "WorkerGroupNotFoundError": "client.errors",
    "WorkerStartTimeoutError": "client.errors",
    "discover": "client.discovery",
    "make_cluster_spec": "client.spec",
    "make_pod_spec": "client.classic.spec",
    "make_scheduler_spec": "client.spec",
    "make_worker_spec": "client.spec",
}
__all__ = sorted(["__version__", *_PLACES])


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{place}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
