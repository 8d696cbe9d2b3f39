"""Pure: does a tool keep an object as git or a release declares it? Then deleting it would only start a fight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dask_gitops.resources.observed import Meta

# Tool -> annotations and labels by which it knows its objects again. Argo CD's label is also a common convention: an
# object too many that stays is better than one that is deleted and applied anew for ever.
_ANNOTATIONS: Mapping[str, tuple[str, ...]] = {
    "Argo CD": ("argocd.argoproj.io/tracking-id",),
    "Helm": ("meta.helm.sh/release-name",),
    "Fleet": ("objectset.rio.cattle.io/id",),
    "Config Sync": ("configsync.gke.io/resource-id",),
}
_LABELS: Mapping[str, tuple[str, ...]] = {
    "Flux": ("kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name"),
    "kapp": ("kapp.k14s.io/app",),
    "Argo CD": ("argocd.argoproj.io/instance", "app.kubernetes.io/instance"),
}
_MANAGED_BY = "app.kubernetes.io/managed-by"


def tracked_by(meta: Meta) -> str | None:
    """Which tool tracks this object, and by which mark, in words such as ``Argo CD (label x)``; None: none does.

    The controller deletes no object that is tracked.
    """
    for kind, known, have in (
        ("annotation", _ANNOTATIONS, meta.annotations),
        ("label", _LABELS, meta.labels),
    ):
        for tool, keys in known.items():
            for key in keys:
                if have.get(key):
                    return f"{tool} ({kind} {key})"
    if meta.labels.get(_MANAGED_BY) == "Helm":
        return f"Helm (label {_MANAGED_BY})"
    return None


# What keeps an object that git does not declare any more: annotation -> words in its value.
_PROTECTED: Mapping[str, tuple[str, ...]] = {
    "argocd.argoproj.io/sync-options": ("Prune=confirm", "Prune=false"),
    "kustomize.toolkit.fluxcd.io/prune": ("disabled",),
    "helm.sh/resource-policy": ("keep",),
}


def protected_by(metadata: Mapping[str, Any]) -> str | None:
    """The mark by which an object (its raw metadata) outlives its removal from git, such as ``helm.sh/resource-policy: keep``; None: it goes."""
    for key, words in _PROTECTED.items():
        said = str((metadata.get("annotations") or {}).get(key, "")).replace(" ", "").split(",")
        for word in words:
            if word in said:
                return f"{key}: {word}"
    return None
