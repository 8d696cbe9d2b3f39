from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from dask_gitops.kube import Credentials, CredentialsError, from_kubeconfig, in_cluster, load
from dask_gitops.kube.credentials import RefreshedCredentials

HOST = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}


@pytest.fixture
def account(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("one\n")
    (tmp_path / "namespace").write_text("dask-gitops\n")
    (tmp_path / "ca.crt").write_text("")
    return tmp_path


@pytest.fixture(autouse=True)
def _any_ca(monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    monkeypatch.setattr(ssl, "create_default_context", lambda cafile=None: context)


def headers(credentials: Credentials, refresh: bool = False) -> Mapping[str, str]:
    return asyncio.run(credentials.headers(refresh=refresh))


def test_in_cluster(account: Path) -> None:
    credentials = in_cluster(account, HOST)
    assert credentials.server == "https://10.0.0.1:6443"
    assert credentials.namespace == "dask-gitops"
    assert headers(credentials) == {"Authorization": "Bearer one"}


def test_ipv6_host(account: Path) -> None:
    assert in_cluster(account, {**HOST, "KUBERNETES_SERVICE_HOST": "fd00::1"}).server == (
        "https://[fd00::1]:6443"
    )


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
def test_incomplete_account(account: Path, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (account / missing).unlink()
    monkeypatch.undo()
    with pytest.raises(CredentialsError, match="in-cluster credentials in"):
        in_cluster(account, HOST)


def test_empty_token(account: Path) -> None:
    (account / "token").write_text("")
    with pytest.raises(CredentialsError, match="is empty"):
        in_cluster(account, HOST)


def test_tokens_rotate(account: Path) -> None:
    credentials = in_cluster(account, HOST)
    assert isinstance(credentials, RefreshedCredentials)
    now = 100.0
    credentials.clock = lambda: now

    async def main() -> None:
        nonlocal now

        async def token() -> str:
            return (await credentials.headers())["Authorization"]

        assert await token() == "Bearer one"
        (account / "token").write_text("two")
        now += 59
        assert await token() == "Bearer one"
        now += 2
        assert await token() == "Bearer two"
        (account / "token").write_text("three")
        now += 1
        refreshed = await credentials.headers(refresh=True)
        assert refreshed["Authorization"] == "Bearer three"
        (account / "token").unlink()  # being replaced: the old one is still good
        now += 100
        assert await token() == "Bearer three"

    asyncio.run(main())


def test_many_askers_one_fetch() -> None:
    fetches = 0

    def fetch() -> Mapping[str, str]:
        nonlocal fetches
        fetches += 1
        return {"n": str(fetches)}

    async def main() -> None:
        credentials = RefreshedCredentials("https://x", fetch)
        await asyncio.gather(*(credentials.headers() for _ in range(20)))
        assert fetches == 1
        # 20 requests were answered with 401 at the same time.
        await asyncio.gather(*(credentials.headers(refresh=True) for _ in range(20)))
        assert fetches == 2

    asyncio.run(main())


def test_first_fetch_fails() -> None:
    def fetch() -> Mapping[str, str]:
        raise OSError("no plugin")

    with pytest.raises(CredentialsError, match="no plugin"):
        headers(RefreshedCredentials("https://x", fetch))


def kubeconfig(folder: Path) -> str:
    def context(name: str, **more: str) -> dict[str, object]:
        return {"name": name, "context": {"cluster": "c", "user": name, **more}}

    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "token",
        "clusters": [{"name": "c", "cluster": {"server": "https://k8s:6443"}}],
        "contexts": [context("token", namespace="team"), context("exec"), context("basic")],
        "users": [
            {"name": "token", "user": {"token": "abc"}},
            {"name": "basic", "user": {"username": "u", "password": "p"}},
            {
                "name": "exec",
                "user": {
                    "exec": {
                        "apiVersion": "client.authentication.k8s.io/v1",
                        "command": "sh",
                        "args": [
                            "-c",
                            'echo \'{"apiVersion": "client.authentication.k8s.io/v1", '
                            '"kind": "ExecCredential", "status": {"token": "plugged"}}\'',
                        ],
                        "interactiveMode": "Never",
                    }
                },
            },
        ],
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_kubeconfig(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path)
    credentials = from_kubeconfig(path)
    assert (credentials.server, credentials.namespace) == ("https://k8s:6443", "team")
    assert headers(credentials) == {"Authorization": "Bearer abc"}
    plugged = from_kubeconfig(path, "exec")
    assert plugged.namespace == "default"
    assert headers(plugged) == {"Authorization": "Bearer plugged"}
    assert headers(from_kubeconfig(path, "basic"))["Authorization"].startswith("Basic ")
    with pytest.raises(CredentialsError, match="nonsense"):
        from_kubeconfig(path, "nonsense")


def test_load_says_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    path = kubeconfig(tmp_path)
    assert load(path).server == "https://k8s:6443"
    monkeypatch.setattr("dask_gitops.kube.credentials.in_cluster", _outside)
    missing = str(tmp_path / "missing")
    with pytest.raises(CredentialsError, match="missing"):
        load(missing)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", missing)
    with pytest.raises(CredentialsError, match=r"in-cluster \(not in a pod\); kubeconfig"):
        load()


def _outside() -> Credentials:
    raise CredentialsError("not in a pod")
