"""Kubeconfigs, good and broken; the official loader reads the same ones."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from aiohttp import web
from dask_gitops.kube import PODS, CredentialsError, KubeClient, from_kubeconfig, load
from dask_gitops.kube.credentials import RefreshedCredentials
from dask_gitops.kube.kubeconfig import Way, read
from kubernetes import client as official
from kubernetes import config as official_config

from tests.support.certificates import self_signed

JSON = dict[str, Any]
V1 = "client.authentication.k8s.io/v1"
SERVER_NAME = "kubernetes.internal"


class Pem(NamedTuple):
    """A certificate that signs itself, and its key."""

    certificate: str
    key: str


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Pem:
    certificate, key = self_signed(tmp_path_factory.mktemp("pem"), SERVER_NAME)
    return Pem(certificate.read_text(), key.read_text())


def config(
    user: JSON | None = None,
    cluster: JSON | None = None,
    context: JSON | None = None,
    **top: Any,
) -> JSON:
    """A kubeconfig with one of each."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": "https://k8s:6443", **(cluster or {})}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", **(context or {})}}],
        "users": [{"name": "u", "user": {"token": "abc"} if user is None else user}],
        **top,
    }


def written(folder: Path, content: Any, name: str = "config") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def said(call: Callable[[], object]) -> str:
    with pytest.raises(CredentialsError) as error:
        call()
    return str(error.value)


def data(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def plugin(script: str = "", **more: Any) -> JSON:
    return {
        "exec": {
            "apiVersion": V1,
            "command": "sh",
            "args": ["-c", script],
            "interactiveMode": "Never",
            **more,
        }
    }


def prints(status: JSON, version: str = V1) -> str:
    answer = {"apiVersion": version, "kind": "ExecCredential", "status": status}
    return f"cat <<'END'\n{json.dumps(answer)}\nEND\n"


# ---- beside the official loader


class Meaning(NamedTuple):
    """What two readers can be compared by."""

    server: str
    headers: Mapping[str, str]
    ca: str | None
    certificate: str | None
    key: str | None
    verified: bool
    server_name: str | None
    proxy: str | None
    namespace: str


def ours(path: str) -> Meaning:
    way: Way = read(path)
    credentials = from_kubeconfig(path)
    return Meaning(
        way.server,
        dict(asyncio.run(credentials.headers())),
        way.ca,
        way.certificate,
        way.key,
        not way.insecure,
        way.server_name,
        way.proxy,
        way.namespace,
    )


def theirs(path: str) -> Meaning:
    found = official.Configuration()
    official_config.load_kube_config(path, client_configuration=found, persist_config=False)
    _, current = official_config.list_kube_config_contexts(path)
    value = found.get_api_key_with_prefix("authorization", alias="BearerToken")
    if not value and found.username:
        value = found.get_basic_auth_token()

    def content(file: str | None) -> str | None:
        return Path(file).read_text() if file else None

    return Meaning(
        str(found.host),
        {"Authorization": value} if value else {},
        content(found.ssl_ca_cert),
        content(found.cert_file),
        content(found.key_file),
        bool(found.verify_ssl),
        found.tls_server_name,
        found.proxy,
        current["context"].get("namespace") or "default",
    )


def documents(pem: Pem, folder: Path) -> dict[str, Any]:
    """By what is special about each."""
    (folder / "ca.crt").write_text(pem.certificate)
    (folder / "tls.crt").write_text(pem.certificate)
    (folder / "tls.key").write_text(pem.key)
    (folder / "token").write_text("from-a-file\n")
    ca, key = data(pem.certificate), data(pem.key)
    pair = {"client-certificate-data": ca, "client-key-data": key}
    named = {"name": "u", "user": {"token": "abc"}}
    return {
        "token": config(),
        "namespace": config(context={"namespace": "team-a"}),
        "path prefix": config(cluster={"server": "https://rancher/k8s/clusters/c-1"}),
        "slash at the end": config(cluster={"server": "https://k8s:6443/"}),
        "plain http": config(cluster={"server": "http://127.0.0.1:8001"}),
        "IPv6": config(cluster={"server": "https://[fd00::1]:6443"}),
        "ca inline": config(cluster={"certificate-authority-data": ca}),
        "ca file": config(cluster={"certificate-authority": "ca.crt"}),
        "ca file, absolute": config(cluster={"certificate-authority": str(folder / "ca.crt")}),
        "ca both ways": config(
            cluster={"certificate-authority-data": ca, "certificate-authority": "nothing"}
        ),
        "ca file is missing": config(cluster={"certificate-authority": "nothing"}),
        "insecure": config(cluster={"insecure-skip-tls-verify": True}),
        "secure in words": config(cluster={"insecure-skip-tls-verify": False}),
        "tls-server-name": config(cluster={"tls-server-name": SERVER_NAME}),
        "proxy": config(cluster={"proxy-url": "http://proxy:3128"}),
        "certificate inline": config(pair),
        "certificate files": config({"client-certificate": "tls.crt", "client-key": "tls.key"}),
        "certificate and token": config({**pair, "token": "abc"}),
        "certificate file is missing": config({"client-certificate": "no", "client-key": "no"}),
        "token file": config({"tokenFile": "token"}),
        "name and password": config({"username": "ann", "password": "p:ä"}),
        "token, name and password": config({"username": "a", "password": "b", "token": "abc"}),
        "nobody": config({}),
        "user is null": config(users=[{"name": "u", "user": None}]),
        "plugin": config(plugin(prints({"token": "plugged"}))),
        "plugin and token": config({**plugin(prints({"token": "plugged"})), "token": "abc"}),
        "plugin, v1beta1": config(
            plugin(
                prints({"token": "t"}, "client.authentication.k8s.io/v1beta1"),
                apiVersion="client.authentication.k8s.io/v1beta1",
            )
        ),
        "plugin with its variables": config(
            plugin(
                f'test "$WHO" = me || exit 1\n{prints({"token": "mine"})}',
                env=[{"name": "WHO", "value": "me"}],
            )
        ),
        "plugin gives a certificate": config(
            plugin(prints({"clientCertificateData": pem.certificate, "clientKeyData": pem.key}))
        ),
        "another current context": config(**{"current-context": "there"}),
        "no current context": config(**{"current-context": None}),
        "context without cluster": config(context={"cluster": None}),
        "context of another cluster": config(context={"cluster": "d"}),
        "context of another user": config(context={"user": "v"}),
        "no contexts": config(contexts=[]),
        "no clusters": config(clusters=None),
        "no server": config(cluster={"server": None}),
        "contexts is a mapping": config(contexts={"here": {}}),
        "a user twice": config(users=[named, named]),
        "extensions and preferences": config(preferences={"colors": True}, extensions=[]),
        "empty": "",
        "a list": "[1, 2]",
        "a text": "no kubeconfig",
        "not YAML": "{ a: [",
        "JSON": json.dumps(config()),
    }


#: Where we differ: what we make of it, and why.
DIFFERENT = {
    "token file": "without the line's end, which no server accepts in a header",
    "name and password": "in UTF-8, as kubectl sends them",
    "user is null": "nobody, as for kubectl",
    "plugin gives a certificate": "it comes with the first headers, not with the file",
    "context of another user": "refused; the official loader goes on as nobody",
    "a user twice": "refused, as by kubectl; the official loader takes one of them",
}


def outcome(reader: Callable[[str], Meaning], path: Path) -> Meaning | str:
    # The official loader raises nearly anything.
    refusals = Exception if reader is theirs else CredentialsError
    try:
        return reader(str(path))
    except refusals:
        return "refused"


def test_as_the_official_loader_reads_it(
    pem: Pem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    found = {}
    all_of_them = documents(pem, tmp_path)
    assert len(all_of_them) >= 40
    for name, content in all_of_them.items():
        path = written(tmp_path, content)
        mine, official_one = outcome(ours, path), outcome(theirs, path)
        if mine != official_one:
            found[name] = (mine, official_one)
    unexpected = {name: pair for name, pair in found.items() if name not in DIFFERENT}
    assert not unexpected
    assert sorted(found) == sorted(DIFFERENT)


# ---- what kubectl does and the official loader does not


def test_several_files(tmp_path: Path) -> None:
    """Of what bears the same name the first file's counts, whole; files that are missing do not."""
    first = config({"token": "first"}, **{"current-context": None})
    second = config({"token": "second", "username": "more"}, {"server": "https://second"})
    second["users"].append({"name": "v", "user": {"token": "v"}})
    second["contexts"].append({"name": "v", "context": {"cluster": "c", "user": "v"}})
    files = [written(tmp_path, first, "a"), tmp_path / "missing", written(tmp_path, second, "b")]
    environ = {"KUBECONFIG": os.pathsep.join(["", *map(str, files)])}
    way = read(environ=environ)
    assert (way.server, way.token, way.identity) == ("https://k8s:6443", "first", ())
    assert read(context="v", environ=environ).token == "v"
    told = said(lambda: read(context="w", environ=environ))
    assert told == (f"kubeconfig {files[0]}:{files[2]}: it has no context 'w'; there are: here, v")


def test_the_usual_place(tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    written(tmp_path / ".kube", config())
    assert read(environ={"HOME": str(tmp_path)}).token == "abc"
    missing = said(lambda: read(environ={"HOME": "/nobody"}))
    assert missing == (
        "kubeconfig /nobody/.kube/config: no such file. Set KUBECONFIG to where it lies"
    )


@pytest.mark.parametrize(
    ("server", "user", "cluster", "expected"),
    [
        ("1.2.3.4:6443", {}, {"insecure-skip-tls-verify": True}, "https://1.2.3.4:6443"),
        ("1.2.3.4:8080", {}, {}, "http://1.2.3.4:8080"),
        ("https://a/", {}, {}, "https://a"),
    ],
)
def test_server(tmp_path: Path, server: str, user: JSON, cluster: JSON, expected: str) -> None:
    assert read(written(tmp_path, config(user, {**cluster, "server": server}))).server == expected


@pytest.mark.parametrize(
    ("told", "environ", "expected"),
    [
        ("", {}, None),
        ("http://p:1", {"HTTPS_PROXY": "http://q:2"}, "http://p:1"),
        ("", {"HTTPS_PROXY": "http://q:2"}, "http://q:2"),
        ("", {"https_proxy": "q:2"}, "http://q:2"),
        ("", {"HTTP_PROXY": "http://q:2"}, None),
        ("", {"HTTPS_PROXY": "http://q:2", "NO_PROXY": "a, 10.0.0.0/8"}, None),
        ("", {"HTTPS_PROXY": "http://q:2", "no_proxy": "*"}, None),
        ("", {"HTTPS_PROXY": "http://q:2", "NO_PROXY": "11.0.0.0/8,.example"}, "http://q:2"),
    ],
)
def test_proxy(tmp_path: Path, told: str, environ: dict[str, str], expected: str | None) -> None:
    cluster = {"server": "https://10.1.2.3", "proxy-url": told}
    assert read(written(tmp_path, config(cluster=cluster)), environ=environ).proxy == expected


@pytest.mark.parametrize(
    ("server", "skipped", "expected"),
    [
        ("https://127.0.0.1:6443", "", None),
        ("https://localhost", "", None),
        ("https://[::1]:1", "", None),
        ("https://k8s.example", "example", None),
        ("https://k8s.example", ".example", None),
        ("https://k8s.example", "*.example", None),
        ("https://notexample", "example", "http://q"),
        ("https://K8S.example", "k8s.EXAMPLE", None),
    ],
)
def test_no_proxy(tmp_path: Path, server: str, skipped: str, expected: str | None) -> None:
    environ = {"HTTPS_PROXY": "http://q", "NO_PROXY": skipped}
    assert read(written(tmp_path, config(cluster={"server": server})), environ=environ).proxy == (
        expected
    )


def test_in_somebodys_stead(tmp_path: Path) -> None:
    user = {
        "token": "abc",
        "as": "ann",
        "as-uid": "7",
        "as-groups": ["a", "b"],
        "as-user-extra": {"Example.org/Why": ["x"]},
    }
    sent = asyncio.run(from_kubeconfig(written(tmp_path, config(user))).headers())
    assert sorted(sent.items()) == [
        ("Authorization", "Bearer abc"),
        ("Impersonate-Extra-example.org%2Fwhy", "x"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-User", "ann"),
    ]
    del user["as"]
    assert "users[u].user.as is missing" in said(lambda: read(written(tmp_path, config(user))))


def test_a_token_file_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("one")
    credentials = from_kubeconfig(written(tmp_path, config({"tokenFile": "token", "token": "0"})))
    assert isinstance(credentials, RefreshedCredentials)

    async def main() -> None:
        assert (await credentials.headers())["Authorization"] == "Bearer one"
        (tmp_path / "token").write_text("two\n")
        assert (await credentials.headers(refresh=True))["Authorization"] == "Bearer two"
        (tmp_path / "token").unlink()
        assert (await credentials.headers(refresh=True))["Authorization"] == "Bearer 0"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (config({"token": 12345}), "users[u].user.token is 12345; write it in quotes"),
        (config({"username": True}), "users[u].user.username is True; write it in quotes"),
        (config("abc"), "users[u].user is 'abc'; expected a mapping"),  # type: ignore[arg-type]
        (config(cluster={"server": None}), "clusters[c].cluster.server is missing; write https://"),
        (config(cluster={"server": "ftp://x"}), "clusters[c].cluster.server is 'ftp://x'; write"),
        (config(cluster={"server": "https://x:99999"}), "clusters[c].cluster.server is "),
        (config(cluster={"proxy-url": "socks5://x"}), "proxy-url is 'socks5://x'; write http://"),
        (config(cluster={"insecure-skip-tls-verify": "yes"}), "is 'yes'; write true or false"),
        (config(cluster={"insecure-skip-tls-verify": 1}), "is 1; write true or false"),
        (config(cluster={"certificate-authority-data": "%"}), "-data is not base64"),
        (config(cluster={"certificate-authority-data": data("x")}), "authority holds no certif"),
        (config({"client-certificate-data": data("x")}), "client-key is missing"),
        (config({"client-key-data": data("x")}), "client-certificate is missing"),
        (
            config({"client-certificate-data": data("x"), "client-key-data": data("y")}),
            "client-certificate and client-key do not work",
        ),
        (config({"token": "a b"}), "the token has blanks or other characters that no header"),
        (config({"token": "a\u00e9"}), "the token has blanks or other characters that no header"),
        (
            config(cluster={"server": "https://a:b@x"}),
            "server holds a name or password; write them",
        ),
        (config(cluster={"server": "https://x y"}), "clusters[c].cluster.server is 'https://x y'"),
        (config(cluster={"proxy-url": "http://x:99999"}), "proxy-url is 'http://x:99999'; write"),
        (config(cluster={"tls-server-name": "a b"}), "tls-server-name is 'a b'; write a host's"),
        (config(plugin(env=[{"value": "x"}])), "exec.env[0].name is ''; write a variable's name"),
        (config(plugin(env=["A=b"])), "exec.env[0] is 'A=b'; expected a mapping"),
        (config({"exec": {"apiVersion": V1}}), "users[u].user.exec.command is missing"),
        (config({"exec": {"command": "x"}}), "exec.apiVersion is ''; it may be client.auth"),
        (config(plugin(interactiveMode="Maybe")), "interactiveMode is 'Maybe'; it may be Never"),
        (config(plugin(args="x")), "exec.args is 'x'; expected a list of strings, in quotes"),
        (config({**plugin(), "auth-provider": {"name": "gcp"}}), "has exec and auth-provider"),
        (config(users=[{"user": {}}]), "users[0].name is missing"),
        (config(users={"u": {}}), "users is {'u': {}}; expected a list"),
        ("a: !!python/object:os.system {}", "not YAML: could not determine a constructor"),
        ("[" * 5000, "not YAML"),
        ("\x00", "not YAML"),
    ],
)
def test_broken(tmp_path: Path, content: JSON | str, expected: str) -> None:
    path = written(tmp_path, content)
    told = said(lambda: from_kubeconfig(path))
    assert told.startswith(f"kubeconfig {path}")
    assert expected in told
    assert "\n" not in told


def test_unreadable(tmp_path: Path) -> None:
    assert said(lambda: read(tmp_path)) == f"kubeconfig {tmp_path}: Is a directory"
    missing = tmp_path / "missing"
    assert said(lambda: read(missing)) == f"kubeconfig {missing}: No such file or directory"
    path = written(tmp_path, config({"tokenFile": "missing"}))
    told = said(lambda: asyncio.run(from_kubeconfig(path).headers()))
    assert f"tokenFile {missing}: No such file or directory" in told


def test_a_key_with_a_password_asks_nobody(pem: Pem, tmp_path: Path) -> None:
    key = subprocess.run(
        ["openssl", "pkey", "-aes256", "-passout", "pass:secret"],
        input=pem.key, text=True, capture_output=True, check=True,
    ).stdout  # fmt: skip
    user = {"client-certificate-data": data(pem.certificate), "client-key-data": data(key)}
    path = written(tmp_path, config(user))
    assert "the key has a password" in said(lambda: from_kubeconfig(path))


def test_signers_with_comments(pem: Pem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In any encoding; and less strict than Python 3.13 is by itself, since many clusters' own would be refused."""
    made = ssl.create_default_context

    def strict(*args: Any, **kwargs: Any) -> ssl.SSLContext:
        context = made(*args, **kwargs)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    comment = "# Autorit\u00e9\n".encode("latin-1")
    (tmp_path / "ca.crt").write_bytes(2 * (comment + pem.certificate.encode()))
    path = written(tmp_path, config(cluster={"certificate-authority": "ca.crt"}))
    context = from_kubeconfig(path).ssl
    assert isinstance(context, ssl.SSLContext)
    assert len(context.get_ca_certs()) == 1
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT


EXPIRED = "e30.eyJleHAiOiAxfQ.s"


def test_a_provider_of_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = ".".join(data(part).rstrip("=") for part in ("{}", '{"exp": 99999999999}', "s"))
    user = {"auth-provider": {"name": "oidc", "config": {"id-token": token}}, "as": "ann"}
    path = written(tmp_path, config(user))
    credentials = from_kubeconfig(path)
    assert credentials.server == "https://k8s:6443"
    sent = asyncio.run(credentials.headers())
    assert dict(sent) == {"Impersonate-User": "ann", "Authorization": f"Bearer {token}"}
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    told = said(lambda: from_kubeconfig(path))
    assert "auth-provider 'oidc' is read by the package kubernetes only: install it" in told


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"config": {"access-token": "secret", "expiry": "2001-01-01T00:00:00Z"}},
        {"name": "oidc"},
        {"name": "oidc", "config": {"id-token": "secret"}},
        {"name": "oidc", "config": {"id-token": EXPIRED}},
        {"name": "oidc", "config": {"id-token": EXPIRED, "refresh-token": "secret", "client-id": "c", "idp-issuer-url": "http://127.0.0.1:9/"}},
        {"name": "azure", "config": {"access-token": "secret", "expires-on": "1"}},
        {"name": "moon"},
        {"name": "moon", "config": 3},
    ],
)  # fmt: skip
def test_a_provider_that_gives_no_token(tmp_path: Path, told: JSON) -> None:
    provider = {"name": "gcp", **told}
    path = written(tmp_path, config({"auth-provider": provider}))
    words = said(lambda: asyncio.run(from_kubeconfig(path).headers()))
    assert f"kubeconfig {path}, context " in words
    assert f": auth-provider {provider['name']!r} gives no token" in words
    assert words.endswith(
        "; log in anew with the platform's tool, or let it write an exec plugin's entry"
    )
    assert "NoneType" not in words
    assert "secret" not in words
    assert EXPIRED not in words
    assert ("Connection refused" in words) == ("idp-issuer-url" in str(told))


def test_the_official_loader_stays_away(tmp_path: Path) -> None:
    """It costs a second of import and 126 MB."""
    path = written(tmp_path, config())
    program = (
        "import sys; from dask_gitops.kube import from_kubeconfig\n"
        f"print(from_kubeconfig({str(path)!r}).server, 'kubernetes' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "https://k8s:6443 False\n", done.stderr


def test_load_says_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(written(tmp_path, config())))
    assert load().server == "https://k8s:6443"
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    assert said(load) == (
        "no way to a Kubernetes API server. Tried: in-cluster (KUBERNETES_SERVICE_HOST is not set); "
        f"kubeconfig {tmp_path / 'missing'}: no such file. Set KUBECONFIG to where it lies"
    )


# ---- plugins


def run_plugin(
    folder: Path, user: JSON, cluster: JSON | None = None, patience_s: float = 30
) -> Any:
    found = read(written(folder, config(user, cluster))).plugin
    assert found is not None
    return found.run(patience_s)


def test_what_a_plugin_is_told(pem: Pem, tmp_path: Path) -> None:
    script = f'echo "$KUBERNETES_EXEC_INFO" > {tmp_path}/told\n{prints({"token": "t"})}'
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}
    ca = data(pem.certificate)
    cluster = {
        "certificate-authority-data": ca,
        "tls-server-name": SERVER_NAME,
        "extensions": [{"name": "other", "extension": 1}, extension],
    }
    for wanted in (False, True):
        assert run_plugin(tmp_path, plugin(script, provideClusterInfo=wanted), cluster).token == "t"
        info = {
            "server": "https://k8s:6443",
            "tls-server-name": SERVER_NAME,
            "certificate-authority-data": ca,
            "config": {"audience": "x"},
        }
        assert json.loads((tmp_path / "told").read_text()) == {
            "apiVersion": V1,
            "kind": "ExecCredential",
            "spec": {"interactive": False, **({"cluster": info} if wanted else {})},
        }


def test_a_plugin_beside_its_kubeconfig(tmp_path: Path) -> None:
    script = tmp_path / "login"
    script.write_text(f"#!/bin/sh\n{prints({'token': 'near'})}")
    script.chmod(0o755)
    assert run_plugin(tmp_path, plugin(command="./login", args=[])).token == "near"
    script.chmod(0o644)
    assert "was not found" in said(lambda: run_plugin(tmp_path, plugin(command="./login")))


def test_what_a_plugin_says_is_seen(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    script = f"echo 'open https://login and type 1234' >&2\n{prints({'token': 't'})}"
    assert run_plugin(tmp_path, plugin(script)).token == "t"
    assert "type 1234" in capfd.readouterr().err


def test_a_question_is_seen_before_it_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends without a new line."""

    class Terminal(io.StringIO):
        def write(self, text: str) -> int:
            done = super().write(text)
            if "Code: " in self.getvalue():
                (tmp_path / "answer").touch()
            return done

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    waits = f"while ! [ -e {tmp_path}/answer ]; do sleep 0.05; done"
    script = f"printf 'Code: ' >&2\n{waits}\n{prints({'token': 't'})}"
    assert run_plugin(tmp_path, plugin(script), patience_s=20).token == "t"
    assert terminal.getvalue() == "Code: "


def test_how_long_it_holds(tmp_path: Path) -> None:
    def valid(until: Any) -> float | None:
        script = prints({"token": "t", "expirationTimestamp": until})
        found: float | None = run_plugin(tmp_path, plugin(script)).valid_s
        return found

    assert valid(None) is None
    assert (valid("2126-01-01T00:00:00Z") or 0) > 3e9
    assert (valid("2126-01-01T00:00:00.123456789+02:00") or 0) > 3e9
    assert (valid("2020-01-01T00:00:00Z") or 0) < 0
    for broken in ("tomorrow", 7, {}):
        assert "expirationTimestamp that is no time" in said(lambda: valid(broken))  # noqa: B023


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (plugin("echo no login >&2; exit 3"), "failed with exit code 3: no login"),
        (plugin("exit 3"), "failed with exit code 3: it printed nothing"),
        (plugin("kill -9 $$"), "failed with exit code -9"),
        (plugin("exec sleep 60"), "did not end within 0 s"),
        (plugin("echo hello"), "printed no ExecCredential with a status"),
        (plugin("echo '{\"status\": 1}'"), "printed no ExecCredential with a status"),
        (plugin(prints({}, "v2")), "printed ExecCredential of v2; the kubeconfig expects"),
        (plugin(prints({})), "gave neither a token nor a certificate"),
        (plugin(prints({"token": 7})), "printed a token or certificate that is no string"),
        (plugin(prints({"clientKeyData": "x"})), "gave a certificate without its key"),
        (
            plugin(command="no-such-login", installHint="Get it at https://example"),
            "exec plugin 'no-such-login' was not found: Get it at https://example",
        ),
        (plugin(args=["-c", "true\0"]), "cannot be run: embedded null byte"),
        (plugin(interactiveMode="Always"), "needs a terminal, and there is none"),
    ],
)
def test_a_plugin_that_fails(tmp_path: Path, user: JSON, expected: str) -> None:
    patience_s = 0.3 if "sleep" in str(user) else 30
    told = said(lambda: run_plugin(tmp_path, user, patience_s=patience_s))
    assert told.startswith(f"kubeconfig {tmp_path}/config, context 'here': exec plugin ")
    assert expected in told


@pytest.mark.parametrize("by", ["inline", "plugin"])
def test_certificates_and_a_name_of_its_own(pem: Pem, tmp_path: Path, by: str) -> None:
    """The server lets only those in who have a certificate, and is known by another name than its address."""
    chain = tmp_path / "chain"
    chain.write_text(f"{pem.certificate}\n{pem.key}")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=pem.certificate)
    tls.load_cert_chain(chain)
    tls.verify_mode = ssl.CERT_REQUIRED
    given = {"clientCertificateData": pem.certificate, "clientKeyData": pem.key}
    user = {
        "inline": {
            "client-certificate-data": data(pem.certificate),
            "client-key-data": data(pem.key),
        },
        "plugin": plugin(prints(given)),
    }[by]

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})

    async def main() -> None:
        app = web.Application()
        app.router.add_get("/api/v1/namespaces/a/pods", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        cluster = {
            "server": f"https://127.0.0.1:{port}",
            "certificate-authority-data": data(pem.certificate),
            "tls-server-name": SERVER_NAME,
        }
        path = written(tmp_path, config(user, cluster))
        try:
            async with KubeClient(from_kubeconfig(path)) as client:
                assert (await client.list(PODS, "a")).items == []
        finally:
            await runner.cleanup()

    asyncio.run(main())
