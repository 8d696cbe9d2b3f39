"""Reasons of conditions. People, scripts and Argo CD's Lua read them: each is an API, and stands here and nowhere else."""

from __future__ import annotations

# What a person wrote, and what the API server says to what follows from it.
INVALID = "Invalid"  # only a person can make it right
NAME_TAKEN = "NameTaken"
QUOTA_EXCEEDED = "QuotaExceeded"
FORBIDDEN = "Forbidden"
NAMESPACE_TERMINATING = "NamespaceTerminating"
UNKNOWN_FIELD, API_SERVER_WARNING = "UnknownField", "ApiServerWarning"
TURN_FAILED = "TurnFailed"  # a bug of ours

# Of several kinds.
PROGRESSING = "Progressing"
SUSPENDING, SUSPENDED = "Suspending", "Suspended"
PARKING, PARKED = "Parking", "Parked"
CLUSTER_MISSING, GROUP_MISSING = "ClusterMissing", "GroupMissing"
SCHEDULER_NOT_READY = "SchedulerNotReady"

# Of a cluster and its groups.
CLUSTER_READY, WORKERS_READY = "ClusterReady", "WorkersReady"
NO_OWNER = "NoOwner"
WAITS_FOR_DELETE, WAITS_FOR_IDLE = "WaitsForDelete", "WaitsForIdle"
WAITS_FOR_SCHEDULER = "WaitsForScheduler"
NOT_IN_SPEC = "NotInSpec"
NOTHING_IS_DISCARDED = "NothingIsDiscarded"
GROUP_OF_ITS_OWN, SCALED_ELSEWHERE = "GroupOfItsOwn", "ScaledElsewhere"
GROUP_LIMIT, CLUSTER_LIMIT = "GroupLimit", "ClusterLimit"
NAMESPACE_LIMIT, CONTROLLER_LIMIT = "NamespaceLimit", "ControllerLimit"

# Of an autoscaler.
STEERING = "Steering"
CLUSTER_RESTS = "ClusterRests"
SECOND_AUTOSCALER = "SecondAutoscaler"
SCHEDULER_SILENT = "SchedulerSilent"
NUMBER_IS_RESET = "NumberIsReset"

# Of a job.
RUNNING, RETRYING = "Running", "Retrying"
WAITS_FOR_END, STARTED_BEFORE = "WaitsForEnd", "StartedBefore"
JOB_SUCCESSFUL, RUNNER_FAILED = "JobSuccessful", "RunnerFailed"
RUNNER_DELETED, CLUSTER_DELETED = "RunnerDeleted", "ClusterDeleted"
DEADLINE_EXCEEDED = "DeadlineExceeded"

# Of Pods, beside the words that Kubernetes itself has for them.
NODE_LOST = "NodeLost"
CRASH_LOOP = "CrashLoopBackOff"
POD_FAILED, UNSCHEDULABLE = "PodFailed", "Unschedulable"
