"""Pure: the objects that a user's settings mean."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dask_gitops.client import names
from dask_gitops.client.classic import cluster as classic
from dask_gitops.client.classic.pods import Pods
from dask_gitops.client.errors import ValidationError
from dask_gitops.client.manifest import Manifest, manifest
from dask_gitops.client.settings import Settings
from dask_gitops.client.spec import make_cluster_spec
from dask_gitops.client.templates import laid_over

JSON = dict[str, Any]
#: No number said: one, for on none the first computation would wait for ever.
N_WORKERS = 1
#: Beside a custom_cluster_spec: what it says itself.
IGNORED = (
    "image",
    "resources",
    "env",
    "worker_command",
    "scheduler_service_type",
    "jupyter",
    "worker_resources",
    "scheduler_resources",
    "worker_template",
    "scheduler_template",
    "labels",
    "annotations",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """:ivar objects: the DaskCluster, and what was written beside it.
    :ivar is_ours: we made it of arguments, field by field.
    :ivar ignored: arguments that count for nothing beside a custom_cluster_spec.
    :ivar remarks: what of a classic cluster is not carried over, and why.
    """

    objects: Manifest
    is_ours: bool = True
    ignored: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.objects.name


def wanted(
    settings: Settings,
    given: Mapping[str, Any],
    values: Mapping[str, str],
    folder: Any = None,
    pods: Pods | None = None,
) -> Wanted:
    """What is to be there.

    :param given: the arguments themselves, by name.
    :param values: what tokens in names stand for.
    :param folder: where a relative path begins.
    :param pods: what a classic cluster is made of.
    :raises TypeError, ValueError, FileNotFoundError: with the argument's name.
    """
    if settings.custom_cluster_spec is not None and pods is None:
        found = manifest(settings.custom_cluster_spec, folder)
        if not names.is_name(found.name):
            raise ValidationError(names.refusal(found.name))
        spec = found.cluster["spec"]
        if given.get("n_workers") is not None:
            spec["worker"] = laid_over(spec.get("worker") or {}, {"replicas": settings.n_workers})
        if given.get("idle_timeout") is not None:
            spec["idleTimeout"] = _whole(settings.idle_timeout)
        ignored = [name for name in IGNORED if given.get(name) is not None]
        if given.get("name") is not None and not _is_called(found.name, settings.name, values):
            ignored.insert(0, "name")
        return Wanted(found, False, ignored)
    name = names.cluster_name(settings.name, values)
    image = None if settings.image is None else names.image_name(settings.image, values)
    number = N_WORKERS if settings.n_workers is None else settings.n_workers
    remarks: list[str] = []
    if pods is None:
        made = make_cluster_spec(
            name,
            image,
            number,
            settings.resources,
            settings.env,
            settings.worker_command,
            settings.scheduler_service_type,
            _whole(settings.idle_timeout),
            settings.jupyter,
        )
    else:
        of_pods = classic.cluster(
            name,
            pods,
            user=values.get("user"),
            n_workers=number,
            env=settings.env,
            image=image,
            image_wins=given.get("image") is not None,
            resources=settings.resources if given.get("resources") is not None else None,
            service_type=settings.scheduler_service_type,
            idle_timeout=_whole(settings.idle_timeout),
            jupyter=settings.jupyter,
        )
        made, remarks = of_pods.cluster, of_pods.remarks
    for part, resources, template in (
        ("worker", settings.worker_resources, settings.worker_template),
        ("scheduler", settings.scheduler_resources, settings.scheduler_template),
    ):
        made["spec"][part] = over(made["spec"][part], resources, template)
    for metadata in ("labels", "annotations"):
        if said := getattr(settings, metadata):
            made["metadata"][metadata] = dict(said)
    return Wanted(Manifest(made), remarks=remarks)


def _is_called(name: str, given: str, values: Mapping[str, str]) -> bool:
    """Is that what a name with tokens comes to?"""
    with contextlib.suppress(ValueError):
        return name in (given, names.cluster_name(given, values))
    return False


def over(part: JSON, resources: JSON | None, template: JSON | None) -> JSON:
    """The worker or scheduler with resources of its own, and a template laid over it last."""
    found = copy.deepcopy(part)
    if resources is not None:
        found["spec"]["containers"][0]["resources"] = resources
    if template is None:
        return found
    laid: JSON = laid_over(found, {key: template[key] for key in template if key != "metadata"})
    metadata = {
        key: value
        for key, value in (template.get("metadata") or {}).items()
        if key in ("labels", "annotations") and value
    }
    return laid_over(laid, {"metadata": metadata}) if metadata else laid


def _whole(seconds: float) -> float | int:
    """The definition wants an integer; part of a second counts as one."""
    return int(-(-seconds // 1))
