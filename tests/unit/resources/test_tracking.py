"""Which objects a tool keeps as they are declared."""

from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.resources.tracking import tracked_by

from tests.unit.objects import cluster

TRACKED: dict[str, dict[str, Any]] = {
    "Argo CD (annotation argocd.argoproj.io/tracking-id)": {
        "annotations": {
            "argocd.argoproj.io/tracking-id": "app:kubernetes.dask.org/DaskJob:ns/nightly"
        }
    },
    "Argo CD (label argocd.argoproj.io/instance)": {
        "labels": {"argocd.argoproj.io/instance": "app"}
    },
    "Argo CD (label app.kubernetes.io/instance)": {"labels": {"app.kubernetes.io/instance": "app"}},
    "Flux (label kustomize.toolkit.fluxcd.io/name)": {
        "labels": {
            "kustomize.toolkit.fluxcd.io/name": "apps",
            "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
        }
    },
    "Flux (label helm.toolkit.fluxcd.io/name)": {"labels": {"helm.toolkit.fluxcd.io/name": "dask"}},
    "Helm (annotation meta.helm.sh/release-name)": {
        "labels": {"app.kubernetes.io/managed-by": "Helm"},
        "annotations": {"meta.helm.sh/release-name": "dask"},
    },
    "Helm (label app.kubernetes.io/managed-by)": {
        "labels": {"app.kubernetes.io/managed-by": "Helm"}
    },
    "kapp (label kapp.k14s.io/app)": {"labels": {"kapp.k14s.io/app": "1700000000"}},
    "Fleet (annotation objectset.rio.cattle.io/id)": {
        "annotations": {"objectset.rio.cattle.io/id": "x"}
    },
    "Config Sync (annotation configsync.gke.io/resource-id)": {
        "annotations": {"configsync.gke.io/resource-id": "x"}
    },
}


@pytest.mark.parametrize("words", TRACKED)
def test_tracked(words: str) -> None:
    assert tracked_by(cluster(**TRACKED[words]).meta) == words


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"labels": {"app.kubernetes.io/managed-by": "a person"}},
        {"labels": {"app.kubernetes.io/name": "x", "team": "a"}},
        {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}},
        {"annotations": {"argocd.argoproj.io/sync-wave": "1", "helm.sh/chart": "x"}},
        {"annotations": {"argocd.argoproj.io/tracking-id": ""}},
    ],
)
def test_not_tracked(meta: dict[str, Any]) -> None:
    assert tracked_by(cluster(**meta).meta) is None
