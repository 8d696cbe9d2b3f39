from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from dask_gitops.kube import Credentials, CredentialsError, in_cluster
from dask_gitops.kube import credentials as credentials_module
from dask_gitops.kube.credentials import Issued, RefreshedCredentials

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
    monkeypatch.setattr(ssl, "create_default_context", lambda cafile=None, cadata=None: context)


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

    def fetch() -> Issued:
        nonlocal fetches
        fetches += 1
        return Issued({"n": str(fetches)}, 60)

    async def main() -> None:
        credentials = RefreshedCredentials("https://x", fetch)
        await asyncio.gather(*(credentials.headers() for _ in range(20)))
        assert fetches == 1
        # 20 requests were answered with 401 at the same time.
        await asyncio.gather(*(credentials.headers(refresh=True) for _ in range(20)))
        assert fetches == 2

    asyncio.run(main())


def test_first_fetch_fails() -> None:
    def fetch() -> Issued:
        raise OSError("no plugin")

    with pytest.raises(CredentialsError, match="no plugin"):
        headers(RefreshedCredentials("https://x", fetch))


def test_what_cannot_be_renewed_goes_on_and_is_tried_again() -> None:
    """A plugin with a hiccup: it is run more and more rarely, however many ask."""
    now, fetches = 100.0, 0

    def fetch() -> Issued:
        nonlocal fetches
        fetches += 1
        if fetches in (2, 3):
            raise OSError("no network")
        return Issued({"n": str(fetches)}, 60)

    async def main() -> None:
        nonlocal now
        credentials = RefreshedCredentials("https://x", fetch, clock=lambda: now)
        assert await credentials.headers() == {"n": "1"}
        for after, expected, tries in (
            (61, "1", 2),
            (0.9, "1", 2),
            (0.2, "1", 3),
            (1.8, "1", 3),
            (0.3, "4", 4),
        ):
            now += after
            assert await credentials.headers() == {"n": expected}
            assert fetches == tries

    asyncio.run(main())


@pytest.mark.parametrize("before", [False, True], ids=["never", "earlier"])
def test_a_plugin_that_fails_for_an_hour_is_run_rarely(before: bool) -> None:
    """Whoever asks is answered at once, also one whom the server has refused; and it ends with the trouble."""
    now, runs, broken = 100.0, 0, not before

    def fetch() -> Issued:
        nonlocal runs
        runs += 1
        if broken:
            raise OSError("no network")
        return Issued({"n": str(runs)}, 60)

    async def main() -> None:
        nonlocal now, broken, runs
        credentials = RefreshedCredentials("https://x", fetch, clock=lambda: now)
        if before:
            assert await credentials.headers() == {"n": "1"}
            broken = True
            now += 61
        for second in range(3600):
            now += 1
            for refresh in (False, True):
                if before:
                    assert await credentials.headers(refresh=refresh) == {"n": "1"}
                else:
                    with pytest.raises(CredentialsError, match="no network"):
                        await credentials.headers(refresh=refresh)
            if second == 10:
                assert 3 <= runs <= 6  # a Lease of 15 s is worth some tries
        assert runs < 140
        broken = False
        now += 30
        said = str(runs + 1)
        assert await credentials.headers() == {"n": said}
        broken = True
        now += 61
        runs = 0
        for _ in range(2):  # anew from the shortest pause
            await credentials.headers()
            now += 1.1
        assert runs == 2

    asyncio.run(main())


def test_a_plugin_that_hangs_holds_up_nobody_who_has_a_token() -> None:
    go = threading.Event()
    runs = 0

    def fetch() -> Issued:
        nonlocal runs
        runs += 1
        if runs == 2:
            assert go.wait(60)
        return Issued({"n": str(runs)}, 0)

    async def main() -> None:
        credentials = RefreshedCredentials("https://x", fetch)
        assert await credentials.headers() == {"n": "1"}
        one = asyncio.create_task(credentials.headers())
        await asyncio.sleep(0.05)
        one.cancel()  # the Lease's own time-out
        assert await credentials.headers() == {"n": "1"}
        waits = asyncio.create_task(credentials.headers(refresh=True))
        await asyncio.sleep(0.05)
        assert not waits.done()
        go.set()
        assert await waits == {"n": "2"}
        assert runs == 2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(credentials_module, "PATIENCE_S", 0.1)
        asyncio.run(main())


def test_a_certificate_that_was_renewed_counts() -> None:
    first, second = (ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) for _ in range(2))
    contexts = iter((first, second))
    credentials = RefreshedCredentials("https://x", lambda: Issued({}, None, next(contexts)))
    headers(credentials)
    headers(credentials)
    assert credentials.ssl is first
    headers(credentials, refresh=True)
    assert credentials.ssl is second
