"""Pure: what a DaskJob means: its runner Pods, and the DaskCluster that they work on."""

from __future__ import annotations

import copy
from typing import Any

from dask_gitops.model.podspec import PodSpec
from dask_gitops.resources import addresses, labels, names
from dask_gitops.resources.metadata import users_metadata, with_note
from dask_gitops.resources.observed import CustomResource
from dask_gitops.resources.pods import add_env, owned_pod, owner_reference, pod_spec
from dask_gitops.resources.revision import revision, without, without_nulls

JSON = dict[str, Any]


def runner_pod(
    job: CustomResource,
    attempt: int,
    *,
    started: str,
    restarted_at: str | None,
    default_image: str,
    reserved: tuple[str, ...] = (),
) -> JSON:
    """The Pod of one attempt (from 1 on), behind a scheduling gate that opens when the scheduler is ready.

    :param started: when the run began (RFC 3339).
    :param restarted_at: the ``spec.restartedAt`` that asked for this run.
    :param default_image: used when neither the container nor the cluster's ``spec.image`` names one.
    """
    read = PodSpec.of((job.spec.get("job") or {}).get("spec"))
    spec = pod_spec(read)
    if job.spec.get("backoffLimit") is not None:
        spec["restartPolicy"] = "Never"  # attempts are counted in pods
    elif spec.get("restartPolicy") != "Never":
        spec["restartPolicy"] = "OnFailure"  # with Always it would never end
    image = _cluster_spec(job).get("image") or default_image
    main = read.runner()
    if main is not None and main.image is None:
        main.fields["image"] = image
    address = addresses.scheduler_address(job.meta.name, job.meta.namespace, _cluster_spec(job))
    open_ = addresses.left_open(_cluster_spec(job))
    # Where it is open the scheduler will tell; variables cannot be changed by then, the Pod's annotation can.
    note = {"fieldRef": {"fieldPath": f"metadata.annotations['{labels.SCHEDULER_ADDRESS}']"}}
    for container in spec["containers"]:
        add_env(container, "DASK_SCHEDULER_ADDRESS", note if open_ else address)
    gates = spec.get("schedulingGates") or []
    spec["schedulingGates"] = [*gates, {"name": labels.SCHEDULER_GATE}]
    _by_affinity(spec)
    return owned_pod(
        names.runner_name(job.meta.name, attempt),
        job,
        spec,
        ours=labels.cluster_selector(job.meta.name, labels.JOB_RUNNER),
        annotations={
            labels.REVISION: runner_revision(job),
            labels.ATTEMPT: str(attempt),
            labels.RUN_STARTED: started,
            **_restarted_at(restarted_at),
            **({labels.SCHEDULER_ADDRESS: address} if open_ else {}),
        },
        users=runner_metadata(job, reserved),
        lasts=True,
    )


def _by_affinity(spec: JSON) -> None:
    """The node that the user names, in words that may stand beside a scheduling gate."""
    node = spec.pop("nodeName", None)
    if not node:
        return
    here = {"key": "metadata.name", "operator": "In", "values": [node]}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    affinity = spec.get("affinity") or {}
    of_nodes = affinity.get("nodeAffinity") or {}
    said = of_nodes.get(required) or {}
    # One of the terms is enough, so it goes into each; one that says nothing selects nothing.
    terms = [t for t in said.get("nodeSelectorTerms") or () if any(t.values())]
    terms = [{**t, "matchFields": [*(t.get("matchFields") or ()), here]} for t in terms]
    if not terms and not said:
        terms = [{"matchFields": [here]}]
    of_nodes = {**of_nodes, required: {**said, "nodeSelectorTerms": terms}}
    spec["affinity"] = {**affinity, "nodeAffinity": of_nodes}


def runner_metadata(job: CustomResource, reserved: tuple[str, ...] = ()) -> JSON:
    """The user's labels and annotations for the runner."""
    return users_metadata([job], (job.spec.get("job") or {}).get("metadata"), reserved)


def runner_revision(job: CustomResource) -> str:
    """Revision of what the user says about the runner (not its metadata)."""
    return revision("runner", (job.spec.get("job") or {}).get("spec"))


def job_cluster(
    job: CustomResource, *, restarted_at: str | None, reserved: tuple[str, ...] = ()
) -> JSON:
    """The DaskCluster ``<job>``: all of ``spec.cluster`` but ``suspend``, which is the job's to say; owned by the job.

    :param restarted_at: the ``spec.restartedAt`` that asked for this run.
    """
    users = with_note(cluster_metadata(job, reserved))
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {
            "name": job.meta.name,
            "namespace": job.meta.namespace,
            "labels": users["labels"],
            "annotations": {
                **users["annotations"],
                labels.REVISION: cluster_revision(job),
                **_restarted_at(restarted_at),
            },
            "ownerReferences": [owner_reference(job)],
        },
        "spec": without_nulls(copy.deepcopy(without(_cluster_spec(job), "suspend"))),
    }


def cluster_metadata(job: CustomResource, reserved: tuple[str, ...] = ()) -> JSON:
    """The user's labels and annotations for the job's cluster."""
    return users_metadata([job], (job.spec.get("cluster") or {}).get("metadata"), reserved)


def cluster_revision(job: CustomResource) -> str:
    """Revision of what the user says about the job's cluster (not its metadata)."""
    return revision("job's cluster", without(_cluster_spec(job), "suspend"))


def _cluster_spec(job: CustomResource) -> JSON:
    found: JSON = (job.spec.get("cluster") or {}).get("spec") or {}
    return found


def _restarted_at(text: str | None) -> dict[str, str]:
    return {labels.RESTARTED_AT: text} if text else {}
