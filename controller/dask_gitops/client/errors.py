"""What a user of ``KubeCluster`` may have to catch.

Each is also of the type that the existing operator's client raises at that place, so that ``except``
clauses keep working.
"""

from __future__ import annotations


class DaskGitopsError(Exception):
    """Base of all of them."""


class ValidationError(DaskGitopsError, ValueError):
    """A name cannot be one of a cluster."""


class NoKubernetesError(DaskGitopsError, ConnectionError):
    """There is no way to an API server, or nobody answers there."""


class NotAllowedError(DaskGitopsError, PermissionError):
    """The API server knows us, and does not let us."""


class CustomResourcesMissingError(DaskGitopsError, RuntimeError):
    """The Kubernetes does not know DaskCluster, or not a field of it that is used."""


class ClusterExistsError(DaskGitopsError, ValueError):
    """It exists already, and should not."""


class ClusterNotFoundError(DaskGitopsError, ValueError):
    """It does not exist, or not for long any more."""


class WorkerGroupNotFoundError(DaskGitopsError, ValueError):
    """The cluster has no such worker group."""


class ControllerSilentError(DaskGitopsError, TimeoutError):
    """No controller acted on the object."""


class CrashLoopBackOffError(DaskGitopsError):
    """A container ends again and again."""


class SchedulerStartupError(CrashLoopBackOffError):
    """The scheduler did not start, and will not by itself."""


class WorkerStartTimeoutError(DaskGitopsError, TimeoutError):
    """Not all workers came in time."""
