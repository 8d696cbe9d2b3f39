from __future__ import annotations

from pathlib import Path

import pytest
from dask_gitops.client import refusals
from dask_gitops.client.access import access
from dask_gitops.client.errors import DaskGitopsError, NoKubernetesError, NotAllowedError
from dask_gitops.kube import ApiError, ApiUnreachable, CredentialsError

LOCAL = "https://127.0.0.1:16443"
CONNECT = "list daskclusters: ClientConnectorError: Cannot connect to host 127.0.0.1:16443 ssl:default [Connect call failed ('127.0.0.1', 16443)]"
FORWARD = (
    'pods "demo" is forbidden: User "ann" cannot create resource "pods/portforward" in API group "" '
    'in the namespace "team-b"'
)


@pytest.mark.parametrize(
    ("error", "in_container", "kind", "words"),
    [
        (
            ApiUnreachable(CONNECT, sent=False),
            True,
            NoKubernetesError,
            f"{LOCAL} refused the connection: inside a container that is the container itself; "
            "put the machine's address into the kubeconfig",
        ),
        (
            ApiUnreachable(CONNECT, sent=False),
            False,
            NoKubernetesError,
            f"{LOCAL} (config, context 'prod'): {CONNECT}",
        ),
        (
            ApiError(401, "Unauthorized", "Unauthorized"),
            False,
            NotAllowedError,
            f"{LOCAL} (config, context 'prod') does not accept who we say we are: Unauthorized",
        ),
        (
            CredentialsError("exec plugin login: exit code 1: your session has ended"),
            False,
            NoKubernetesError,
            "no way to Kubernetes: config, context 'prod': exec plugin login: exit code 1: your "
            "session has ended",
        ),
        (
            ApiError(403, "Forbidden", FORWARD),
            False,
            NotAllowedError,
            "user 'ann' may not get/create pods/portforward in 'team-b'; without it use "
            "scheduler_service_type='LoadBalancer' or work in a Pod there",
        ),
    ],
)
def test_exact_words(
    error: Exception, in_container: bool, kind: type[DaskGitopsError], words: str
) -> None:
    where = "config, context 'prod'"
    found = refusals.refusal(error, server=LOCAL, where=where, in_container=in_container)
    assert type(found) is kind
    assert str(found) == words


def test_all_namespaces_are_no_namespace() -> None:
    message = (
        'x: User "ann" cannot list resource "daskclusters" in API group "g" at the cluster scope'
    )
    found = refusals.refusal(ApiError(403, "Forbidden", message), server=LOCAL, where="config")
    assert str(found) == "user 'ann' may not list daskclusters in all namespaces; name one"


def test_a_kind_that_is_unknown_is_not_an_object_that_is() -> None:
    unknown = ApiError(404, "NotFound", "the server could not find the requested resource")
    assert refusals.is_unknown_kind(unknown)
    assert refusals.is_unknown_kind(ApiError(404, "", "404 page not found"))
    missing = ApiError(404, "NotFound", 'daskclusters.kubernetes.dask.org "demo" not found')
    assert not refusals.is_unknown_kind(missing)


def test_no_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    words = (
        "no way to Kubernetes: not in a Pod, and ~/.kube/config does not exist. "
        "Set KUBECONFIG, or pass kubeconfig="
    )
    with pytest.raises(NoKubernetesError) as caught:
        access()
    assert str(caught.value) == words
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/one")
    with pytest.raises(NoKubernetesError) as caught:
        access()
    assert str(caught.value) == words.replace("~/.kube/config", f"{tmp_path}/one")


def test_a_context_is_told(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("""
current-context: prod
contexts: [{name: prod, context: {cluster: c, namespace: team-b}}]
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
""")
    found = access(str(file))
    assert (found.context, found.namespace, found.inside) == ("prod", "team-b", False)
    with pytest.raises(NoKubernetesError, match="it has no context 'test'; there are: prod"):
        access(str(file), "test")
