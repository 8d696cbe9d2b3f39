"""Labels and annotations: ours, and which of the user's are handed on to pods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

CLUSTER = "dask.org/cluster-name"
COMPONENT = "dask.org/component"
GROUP = "dask.org/workergroup-name"
SERIAL = "dask.org/worker-serial"
OURS = (CLUSTER, COMPONENT, GROUP, SERIAL)  # selectors hold only these; a user cannot override them

SCHEDULER = "scheduler"
WORKER = "worker"
WORKER_GROUP = "workergroup"
JOB_RUNNER = "job-runner"
AUTOSCALER = "autoscaler"
PODS_SELECTOR = f"{COMPONENT} in ({JOB_RUNNER},{SCHEDULER},{WORKER})"
SERVICES_SELECTOR = f"{COMPONENT}={SCHEDULER}"

RETIRING = "dask.org/retiring"  # on a worker pod: since when it is leaving (RFC 3339)
REVISION = "dask.org/revision"  # on pods and Services: what spec they were made from
WAS_READY = "dask.org/was-ready"  # on the scheduler pod: revision for which all was up once
GROUP_WAS_READY = (
    "ready.dask.org/"  # + group name, on the scheduler pod: the same for a group, and with how many
)
CLUSTER_REPLICAS = (
    "dask.org/cluster-replicas"  # on the default group: last number copied from the cluster
)
INLINE_AUTOSCALER = (
    # on a cluster's own autoscaler: for which spec.autoscaler it was made; on the default group: for which one it was
    # made last, so that somebody may delete or change it
    "dask.org/inline-autoscaler"
)
SPEC_WARNING = "dask.org/spec-warning"  # on pods: what the API server warned of when it took them
HANDED_ON = "dask.org/handed-on"  # on what we create: which labels and annotations are the user's
RESTARTED_AT = "dask.org/restarted-at"  # on pods: spec.restartedAt when they were made
SCHEDULER_IMAGE = (
    "dask.org/scheduler-image"  # on workers without an image of their own: whose image they took
)
UPDATE_WAITS = "dask.org/update-waits"  # on the scheduler pod: for which change, since when
QUICK_DEATHS = "dask.org/quick-deaths"  # on a pod: how many before it died at once, in a row,
FAILING_SINCE = "dask.org/failing-since"  # when the first of them was made (RFC 3339),
LAST_DEATH = "dask.org/last-death"  # and why the last one ended
SCHEDULER_RESTARTS = "dask.org/scheduler-restarts"  # on the scheduler pod: restarts before it,
LAST_RESTART = "dask.org/last-restart"  # and why it was made anew
PARKED = "dask.org/parked"  # on the scheduler pod: since when the idle cluster has no workers
SUSPENDED = (
    "dask.org/suspended"  # it goes because its cluster was suspended: its successor is no restart
)
WOKEN = "dask.org/woken"  # when it was woken last, and after how many seconds a worker was ready
ATTEMPT = "dask.org/attempt"  # on a runner pod: the how-manieth of its run,
RUN_STARTED = "dask.org/run-started"  # when that run began (RFC 3339),
CLUSTER_UID = "dask.org/cluster-uid"  # on which cluster it was let loose,
SCHEDULER_ADDRESS = (
    "dask.org/scheduler-address"  # what its DASK_SCHEDULER_ADDRESS is read from, if from here,
)
ENDING = "dask.org/ending"  # since when it is being stopped (RFC 3339),
OUTCOME = "dask.org/outcome"  # and how the run ended (JSON, as in the job's status)
SCHEDULER_GATE = "dask.org/scheduler-ready"  # scheduling gate of a runner pod

# On pods that cannot be replaced without a loss: who drains nodes to save some of them lets these be.
STAYS = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}
MESH_PROXY = "sidecar.istio.io/inject"  # "false" on pods that say nothing of it: as the existing operator has it

# Metadata of the custom resource that belongs to tools, never to the pods made from it.
RESERVED_DOMAINS = (
    "kubernetes.io",
    "k8s.io",
    "x-k8s.io",
    "helm.sh",
    "argoproj.io",
    "fluxcd.io",
    "cattle.io",
    "k14s.io",
    "dask.org",
)
RESERVED_PREFIXES = ("kopf.",)


def is_reserved(key: str, more: Iterable[str] = ()) -> bool:
    """Is this label or annotation key never copied from a custom resource to pods?

    :param more: further domains (``example.com`` also covers ``a.example.com/x``) from the settings.
    """
    domain = key.partition("/")[0]  # also a key that is nothing but a domain
    if domain.startswith(RESERVED_PREFIXES):
        return True
    return any(domain == d or domain.endswith("." + d) for d in (*RESERVED_DOMAINS, *more))


def is_ours(key: str) -> bool:
    """Is this a label or annotation key that only the controller may set on what it creates?"""
    domain, slash, _ = key.partition("/")
    return bool(slash) and (domain == "dask.org" or domain.endswith(".dask.org"))


def handed_on(metadata: Mapping[str, str], reserved: Iterable[str] = ()) -> dict[str, str]:
    """The labels (or annotations) of a custom resource that its pods get too."""
    return {key: value for key, value in metadata.items() if not is_reserved(key, reserved)}


def cluster_selector(cluster: str, component: str) -> dict[str, str]:
    return {CLUSTER: cluster, COMPONENT: component}


def group_selector(cluster: str, group: str) -> dict[str, str]:
    return {CLUSTER: cluster, COMPONENT: WORKER, GROUP: group}


def as_string(selector: Mapping[str, str]) -> str:
    """A selector as the scale subresource and kubectl write it: ``a=b,c=d``."""
    return ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
