"""The way to Kubernetes: credentials, client, informer, work queue, Lease. Knows no Dask."""

from .client import JSON, Api, Created, KubeClient, Page
from .credentials import Credentials, CredentialsError, in_cluster
from .errors import ApiError, ApiUnreachable, KubeError, NotLeader
from .informer import Informer, Key, key_of
from .kubeconfig import from_kubeconfig, load
from .lease import LeaseElector
from .resource import (
    DASKAUTOSCALERS,
    DASKCLUSTERS,
    DASKJOBS,
    DASKWORKERGROUPS,
    DEPLOYMENTS,
    EVENTS,
    LEASES,
    NAMESPACES,
    PODS,
    SELF_SUBJECT_ACCESS_REVIEWS,
    SELF_SUBJECT_REVIEWS,
    SERVICES,
    Resource,
)
from .workqueue import WorkQueue

__all__ = [
    "DASKAUTOSCALERS",
    "DASKCLUSTERS",
    "DASKJOBS",
    "DASKWORKERGROUPS",
    "DEPLOYMENTS",
    "EVENTS",
    "JSON",
    "LEASES",
    "NAMESPACES",
    "PODS",
    "SELF_SUBJECT_ACCESS_REVIEWS",
    "SELF_SUBJECT_REVIEWS",
    "SERVICES",
    "Api",
    "ApiError",
    "ApiUnreachable",
    "Created",
    "Credentials",
    "CredentialsError",
    "Informer",
    "Key",
    "KubeClient",
    "KubeError",
    "LeaseElector",
    "NotLeader",
    "Page",
    "Resource",
    "WorkQueue",
    "from_kubeconfig",
    "in_cluster",
    "key_of",
    "load",
]
