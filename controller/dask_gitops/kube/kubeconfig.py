"""The way to an API server that kubeconfig files describe, read as kubectl reads them.

`read` says what the files mean, `from_kubeconfig` makes credentials of it. The official loader
would bring 126 MB and a second of import; it is asked for ``auth-provider`` only.

Source of the format: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import ipaddress
import os
import re
import ssl
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from multidict import CIMultiDict
from yarl import URL

from .credentials import (
    TOKEN_AGE_S,
    Credentials,
    CredentialsError,
    Issued,
    RefreshedCredentials,
    StaticCredentials,
    in_cluster,
    trusting,
)
from .exec_plugin import ExecPlugin, Given

JSON = dict[str, Any]
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[\sA-Za-z0-9+/=]+-----END CERTIFICATE-----")
_EXEC_EXTENSION = "client.authentication.k8s.io/exec"


@dataclass(frozen=True, slots=True)
class Way:
    """What a context says.

    :ivar where: file and context, for messages.
    :ivar ca: PEM of those who may sign the server's certificate; None: whom the system trusts.
    :ivar server_name: name that is sent and checked in TLS, where it is not the server's.
    :ivar certificate: PEM of the client's, with ``key``.
    :ivar token_file: it may change; what ``token`` says holds while it cannot be read.
    :ivar identity: headers of impersonation, or of a name and a password.
    """

    where: str
    server: str
    namespace: str = "default"
    context: str = ""
    ca: str | None = None
    insecure: bool = False
    server_name: str | None = None
    proxy: str | None = None
    certificate: str | None = None
    key: str | None = None
    token: str = ""
    token_file: Path | None = None
    plugin: ExecPlugin | None = None
    auth_provider: str = ""
    identity: tuple[tuple[str, str], ...] = ()


# ---- fields


class _Fields:
    """A mapping in a kubeconfig, which knows its place: errors name the field and what to do."""

    def __init__(self, raw: Any, file: Path, place: str) -> None:
        self.file, self.place = file, place
        if raw is None:
            raw = {}
        if not isinstance(raw, dict):
            raise self.wrong("", f"is {_shown(raw)}; expected a mapping")
        self.raw: JSON = raw

    def wrong(self, key: str, why: str) -> CredentialsError:
        path = ".".join(part for part in (self.place, key) if part)
        return CredentialsError(f"kubeconfig {self.file}: {f'{path} ' if path else ''}{why}")

    def text(self, key: str) -> str:
        """A string, "" where there is none."""
        value = self.raw.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.wrong(key, f"is {_shown(value)}; write it in quotes")
        return value.strip()

    def flag(self, key: str) -> bool:
        value = self.raw.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(key, f"is {_shown(value)}; write true or false")
        return bool(value)

    def below(self, key: str) -> _Fields | None:
        """The mapping of this field; None where there is none."""
        if self.raw.get(key) is None:
            return None
        return _Fields(self.raw[key], self.file, ".".join(filter(None, (self.place, key))))

    def each(self, key: str) -> list[_Fields]:
        """The mappings of a list."""
        value = self.raw.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.wrong(key, f"is {_shown(value)}; expected a list")
        place = f"{self.place}.{key}" if self.place else key
        return [_Fields(one, self.file, f"{place}[{i}]") for i, one in enumerate(value)]

    def texts(self, key: str) -> list[str]:
        """The strings of a list."""
        value = self.raw.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self.wrong(key, f"is {_shown(value)}; expected a list of strings, in quotes")
        return value

    def path(self, key: str) -> Path | None:
        """A file, told from the kubeconfig's folder."""
        value = self.text(key)
        return self.file.parent / value if value else None

    def pem(self, key: str) -> str | None:
        """What the field's inline form holds, or else its file."""
        if inline := self.text(f"{key}-data"):
            try:
                found = base64.b64decode("".join(inline.split()), validate=True)
            except (binascii.Error, ValueError) as error:
                raise self.wrong(f"{key}-data", f"is not base64: {error}") from None
            return found.decode(errors="surrogateescape")
        path = self.path(key)
        if path is None:
            return None
        try:
            return path.read_text(errors="surrogateescape")  # comments may be of any encoding
        except (OSError, ValueError) as error:
            raise self.wrong(key, _unreadable(path, error)) from None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unreadable(path: Path, error: Exception) -> str:
    return f"{path}: {error.strerror if isinstance(error, OSError) else 'no text'}"


# ---- files


@dataclass(slots=True)
class _Merged:
    """Several files as one: of what bears the same name, that of the first file counts, whole."""

    files: list[Path]
    current: str = ""
    contexts: dict[str, _Fields] = field(default_factory=dict)
    clusters: dict[str, _Fields] = field(default_factory=dict)
    users: dict[str, _Fields] = field(default_factory=dict)

    def add(self, top: _Fields) -> None:
        self.current = self.current or top.text("current-context")
        for kind, kept in (
            ("context", self.contexts),
            ("cluster", self.clusters),
            ("user", self.users),
        ):
            own: dict[str, _Fields] = {}
            for entry in top.each(f"{kind}s"):
                name = entry.text("name")
                if not name:
                    raise entry.wrong("name", "is missing")
                if name in own:
                    raise top.wrong(f"{kind}s", f"has {name!r} twice; keep one")
                own[name] = _Fields(entry.raw.get(kind), top.file, f"{kind}s[{name}].{kind}")
            for name, entry in own.items():
                kept.setdefault(name, entry)


def _files(path: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> list[Path]:
    """Where to look; of several, those that exist.

    :raises CredentialsError: there is none.
    """
    if path is not None:
        return [Path(path)]
    told = [Path(one) for one in environ.get("KUBECONFIG", "").split(os.pathsep) if one]
    if not told:
        home = environ.get("HOME") or environ.get("USERPROFILE") or os.path.expanduser("~")
        told = [Path(home) / ".kube/config"]
    there = [one for one in told if one.exists()]
    if not there:
        missing = ", ".join(map(str, told))
        raise CredentialsError(
            f"kubeconfig {missing}: no such file. Set KUBECONFIG to where it lies"
        )
    return there


def _parsed(file: Path) -> _Fields:
    import yaml  # a controller in a Pod reads none

    try:
        raw = yaml.safe_load(file.read_bytes())
    except OSError as error:
        raise CredentialsError(f"kubeconfig {file}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        told = " ".join(str(error).split()) or type(error).__name__
        raise CredentialsError(f"kubeconfig {file}: not YAML: {told}") from None
    return _Fields(raw, file.absolute(), "")


def read(
    path: str | os.PathLike[str] | None = None,
    context: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Way:
    """What a context of the kubeconfig means; runs nothing and asks nobody.

    :param path: one file; None: those of ``KUBECONFIG``, merged, else ``~/.kube/config``.
    :param context: its name; None: the current one.
    :raises CredentialsError: a file or field is missing or wrong; the message names it.
    """
    merged = _Merged(_files(path, environ))
    for file in merged.files:
        merged.add(_parsed(file))
    where = os.pathsep.join(map(str, merged.files))

    def pick(kind: str, name: str, among: Mapping[str, _Fields]) -> _Fields:
        if name in among:
            return among[name]
        there = ", ".join(sorted(among)) or "none"
        raise CredentialsError(f"kubeconfig {where}: it has no {kind} {name!r}; there are: {there}")

    name = context or merged.current
    if not name:
        there = ", ".join(sorted(merged.contexts)) or "none"
        raise CredentialsError(
            f"kubeconfig {where}: no current-context is set; name one of its contexts: {there}"
        )
    chosen = pick("context", name, merged.contexts)
    if not chosen.text("cluster"):
        raise chosen.wrong("cluster", "is missing")
    cluster = pick("cluster", chosen.text("cluster"), merged.clusters)
    user_name = chosen.text("user")
    user = pick("user", user_name, merged.users) if user_name else _Fields({}, chosen.file, "")
    where = f"{chosen.file}, context {name!r}"
    server = _server(cluster, user)
    ca, insecure = cluster.pem("certificate-authority"), cluster.flag("insecure-skip-tls-verify")
    server_name = cluster.text("tls-server-name")
    if server_name and not _is_address(f"https://{server_name}"):
        raise cluster.wrong("tls-server-name", f"is {_shown(server_name)}; write a host's name")
    provider = user.below("auth-provider")
    return Way(
        where=where,
        server=server,
        namespace=chosen.text("namespace") or "default",
        context=name,
        ca=ca,
        insecure=insecure,
        server_name=server_name or None,
        proxy=_proxy(cluster, URL(server), environ),
        certificate=user.pem("client-certificate"),
        key=user.pem("client-key"),
        token=user.text("token"),
        token_file=user.path("tokenFile"),
        plugin=_plugin(user, where, _cluster_info(cluster, server, ca)),
        auth_provider=provider.text("name") if provider else "",
        identity=_identity(user),
    )


def _server(cluster: _Fields, user: _Fields) -> str:
    """The address, in whole: without a scheme it is https where anything of TLS is told."""
    server = cluster.text("server")
    if not server:
        raise cluster.wrong("server", "is missing; write https://HOST:PORT")
    if "://" not in server:
        tls = ("certificate-authority", "client-certificate")
        told = {key for each in (cluster, user) for key in each.raw if key.startswith(tls)}
        is_tls = told or cluster.flag("insecure-skip-tls-verify")
        server = f"{'https' if is_tls else 'http'}://{server}"
    if not _is_address(server):
        raise cluster.wrong("server", f"is {_shown(server)}; write https://HOST:PORT")
    if URL(server).user or URL(server).password:
        raise cluster.wrong("server", "holds a name or password; write them to the user's entry")
    return server.rstrip("/")


def _is_address(told: str) -> bool:
    """Is it of http or https, with a host?"""
    try:
        url = URL(told)
    except ValueError:
        return False
    is_whole = url.scheme in ("http", "https") and bool(url.host) and url.port is not None
    return is_whole and told.isprintable() and " " not in told


def _proxy(cluster: _Fields, server: URL, environ: Mapping[str, str]) -> str | None:
    """The cluster's own proxy, or else the environment's, which nobody asks for this machine."""
    told = cluster.text("proxy-url")
    if told:
        if not _is_address(told):
            raise cluster.wrong("proxy-url", f"is {_shown(told)}; write http://HOST:PORT")
        return told
    name = f"{server.scheme}_proxy"
    told = environ.get(name) or environ.get(name.upper()) or ""
    skipped = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    host = server.host or ""
    if not told or _is_skipped(host, skipped):
        return None
    if "://" not in told:
        told = f"http://{told}"
    if not _is_address(told):
        raise CredentialsError(f"{name.upper()} is {_shown(told)}; write http://HOST:PORT")
    return told


def _is_skipped(host: str, skipped: str) -> bool:
    """Does NO_PROXY (names with all below them, addresses, networks, ``*``) hold for this host?"""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if host == "localhost" or (address and address.is_loopback):
        return True
    for told in skipped.split(","):
        one = told.strip().lower()
        with contextlib.suppress(ValueError):
            if address and address in ipaddress.ip_network(one.strip("[]"), strict=False):
                return True
        name = one.removeprefix("*").removeprefix(".")
        if one == "*" or (name and (host == name or host.endswith(f".{name}"))):
            return True
    return False


def _cluster_info(cluster: _Fields, server: str, ca: str | None) -> JSON:
    """What a plugin is told of the cluster if it asks for it."""
    info: JSON = {"server": server}
    for key in ("tls-server-name", "proxy-url"):
        if value := cluster.text(key):
            info[key] = value
    if cluster.flag("insecure-skip-tls-verify"):
        info["insecure-skip-tls-verify"] = True
    if ca is not None:
        info["certificate-authority-data"] = base64.b64encode(
            ca.encode(errors="surrogateescape")
        ).decode()
    for extension in cluster.each("extensions"):
        if extension.text("name") == _EXEC_EXTENSION:
            info["config"] = extension.raw.get("extension")
    return info


def _plugin(user: _Fields, where: str, cluster: JSON) -> ExecPlugin | None:
    told = user.below("exec")
    if told is None:
        return None
    if user.below("auth-provider"):
        raise user.wrong("", "has exec and auth-provider; keep exec")
    command, version = told.text("command"), told.text("apiVersion")
    if not command:
        raise told.wrong("command", "is missing")
    if version not in ExecPlugin.VERSIONS:
        known = " or ".join(ExecPlugin.VERSIONS)
        raise told.wrong("apiVersion", f"is {_shown(version)}; it may be {known}")
    mode = told.text("interactiveMode") or "IfAvailable"
    if mode not in ExecPlugin.MODES:
        known = ", ".join(ExecPlugin.MODES)
        raise told.wrong("interactiveMode", f"is {_shown(mode)}; it may be {known}")
    if os.path.basename(command) != command:
        command = str(told.file.parent / command)
    return ExecPlugin(
        where=where,
        command=(command, *told.texts("args")),
        version=version,
        env=_variables(told),
        mode=mode,
        install_hint=told.text("installHint"),
        cluster=cluster if told.flag("provideClusterInfo") else None,
    )


def _variables(told: _Fields) -> dict[str, str]:
    """What is added to a plugin's environment."""
    found = {}
    for one in told.each("env"):
        name = one.text("name")
        if not name or "=" in name:
            raise one.wrong("name", f"is {_shown(name)}; write a variable's name")
        found[name] = one.text("value")
    return found


def _identity(user: _Fields) -> tuple[tuple[str, str], ...]:
    """Headers that say who we are: a name and a password, and in whose stead we act."""
    found: list[tuple[str, str]] = []
    name, password = user.text("username"), user.text("password")
    if name and not (user.text("token") or user.text("tokenFile")):
        secret = base64.b64encode(f"{name}:{password}".encode()).decode()
        found.append(("Authorization", f"Basic {secret}"))
    acts_as = user.text("as")
    more = [("Impersonate-Uid", user.text("as-uid"))] if user.text("as-uid") else []
    more += [("Impersonate-Group", group) for group in user.texts("as-groups")]
    if extra := user.below("as-user-extra"):
        for key in extra.raw:
            header = f"Impersonate-Extra-{quote(str(key).lower(), safe='')}"
            more += [(header, value) for value in extra.texts(key)]
    if more and not acts_as:
        raise user.wrong("as", "is missing: the name of the user in whose stead to act")
    if acts_as:
        found += [("Impersonate-User", acts_as), *more]
    for header, value in found:
        if not (value.isascii() and value.isprintable()):
            raise user.wrong("", f"gives {header} the value {_shown(value)}; ASCII only")
    return tuple(found)


# ---- credentials


def from_kubeconfig(
    path: str | os.PathLike[str] | None = None, context: str | None = None
) -> Credentials:
    """Credentials of a kubeconfig: certificates, tokens, plugins and their renewal.

    :raises CredentialsError: see `read`.
    """
    way = read(path, context)
    shared: JSON = {
        "server": way.server,
        "ssl": _tls(way, way.certificate, way.key),
        "namespace": way.namespace,
        "proxy": way.proxy,
        "server_name": way.server_name,
    }
    if way.auth_provider:
        return RefreshedCredentials(fetch=_from_provider(way, path, context), **shared)
    if way.token_file:
        return RefreshedCredentials(
            fetch=_from_file(way, way.token_file), in_thread=False, **shared
        )
    if way.token:
        return StaticCredentials(fixed=_headers(way, way.token), **shared)
    if way.plugin:
        plugin = way.plugin
        return RefreshedCredentials(
            fetch=lambda: _issued(way, plugin.run()),
            fetch_now=lambda patience_s: _issued(way, plugin.run_quietly(patience_s)),
            **shared,
        )
    return StaticCredentials(fixed=_headers(way), **shared)


def _headers(way: Way, token: str = "") -> Mapping[str, str]:
    """A token counts before a name and a password."""
    headers = CIMultiDict(way.identity)
    if not (token.isascii() and token.isprintable()) or " " in token:
        told = "the token has blanks or other characters that no header may have"
        raise CredentialsError(f"kubeconfig {way.where}: {told}")
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _from_file(way: Way, file: Path) -> Callable[[], Issued]:
    """The token of a file that somebody renews."""

    def fetch() -> Issued:
        try:
            token = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            token = way.token
            if not token:
                raise CredentialsError(
                    f"kubeconfig {way.where}: tokenFile {_unreadable(file, error)}"
                ) from None
        if not token:
            raise CredentialsError(f"kubeconfig {way.where}: tokenFile {file} is empty")
        return Issued(_headers(way, token), TOKEN_AGE_S)

    return fetch


def _issued(way: Way, given: Given) -> Issued:
    """By a plugin."""
    tls = _tls(way, given.certificate, given.key) if given.certificate else True
    return Issued(_headers(way, given.token), given.valid_s, None if tls is True else tls)


def _tls(way: Way, certificate: str | None, key: str | None) -> ssl.SSLContext | Literal[True]:
    """The context of connections; True for plain http."""
    if URL(way.server).scheme != "https":
        return True
    try:
        context = trusting(pem=None if way.ca is None else _signers(way.ca))
    except (ssl.SSLError, OSError, ValueError) as error:
        told = f"certificate-authority holds no certificate: {error}"
        raise CredentialsError(f"kubeconfig {way.where}: {told}") from None
    if way.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if bool(certificate) != bool(key):
        lacking = "client-key" if certificate else "client-certificate"
        raise CredentialsError(f"kubeconfig {way.where}: {lacking} is missing")
    if certificate and key:
        with tempfile.TemporaryDirectory() as folder:  # ssl reads these from files only
            chain = Path(folder) / "chain.pem"
            chain.touch(mode=0o600)
            chain.write_text(f"{certificate}\n{key}", errors="surrogateescape")
            try:
                # Asked for a password it would wait on the terminal for ever.
                context.load_cert_chain(chain, password=_no_password)
            except (ssl.SSLError, OSError, ValueError) as error:
                told = f"client-certificate and client-key do not work: {error}"
                raise CredentialsError(f"kubeconfig {way.where}: {told}") from None
    return context


def _signers(pem: str) -> str:
    """The certificates without the comments between them, which ssl wants in ASCII."""
    found = _CERTIFICATE.findall(pem)
    if not found:  # ssl would take it for none at all, and trust whom the system trusts
        raise ValueError("nothing between BEGIN CERTIFICATE and END CERTIFICATE")
    return "\n".join(found)


def _no_password() -> str:
    raise ValueError("the key has a password; store it without one")


def _from_provider(
    way: Way, path: str | os.PathLike[str] | None, context: str | None
) -> Callable[[], Issued]:
    """Tokens of providers that went out of Kubernetes years ago; the official loader still knows some."""
    try:
        from kubernetes import client, config
    except ImportError:
        raise CredentialsError(
            f"kubeconfig {way.where}: auth-provider {way.auth_provider!r} is read by the package "
            "kubernetes only: install it, or let the platform's tool write an exec entry"
        ) from None
    configuration = client.Configuration()
    try:
        config.load_kube_config(
            config_file=None if path is None else str(path),
            context=context,
            client_configuration=configuration,
            persist_config=False,
        )
    except Exception as error:  # the loader raises nearly anything on a broken file
        raise _without_token(way, error) from error

    def fetch() -> Issued:
        try:
            # Runs the loader's refresh hook: an expired token is fetched anew.
            value = configuration.get_api_key_with_prefix("authorization", alias="BearerToken")
        except Exception as error:
            raise _without_token(way, error) from error
        if not value:  # the loader leaves out without a word what it does not know
            raise _without_token(way)
        return Issued(_headers(way, value.removeprefix("Bearer ")), TOKEN_AGE_S)

    return fetch


def _without_token(way: Way, error: Exception | None = None) -> CredentialsError:
    """In the loader's words only where they are of the network: others may hold the user's whole entry."""
    from urllib3.exceptions import HTTPError  # which the loader speaks with

    said = f" ({error})" if isinstance(error, OSError | HTTPError) else ""
    return CredentialsError(
        f"kubeconfig {way.where}: auth-provider {way.auth_provider!r} gives no token{said}; log in "
        "anew with the platform's tool, or let it write an exec plugin's entry"
    )


def load() -> Credentials:
    """In-cluster credentials when there are any, else those of the kubeconfig.

    :raises CredentialsError: with everything that was tried.
    """
    try:
        return in_cluster()
    except CredentialsError as inside:
        try:
            return from_kubeconfig()
        except CredentialsError as outside:
            raise CredentialsError(
                f"no way to a Kubernetes API server. Tried: in-cluster ({inside}); {outside}"
            ) from outside
