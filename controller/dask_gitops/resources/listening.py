"""Pure: where the Dask server in a container listens, as far as its own words tell.

Command, arguments and variables are read as Kubernetes, a shell and Dask's command line read them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dask_gitops.model.podspec import Container
from dask_gitops.resources import labels, names

_SCHEME_ENV = "DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME"
_ENCRYPTED_ENV = "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"
_DASHBOARD_TLS_ENV = "DASK_DISTRIBUTED__SCHEDULER__DASHBOARD__TLS__CERT"
_TLS = ("--tls-cert", "--tls-key", "--tls-ca-file")
# $$ is one dollar sign to Kubernetes, $(NAME) a variable; ${NAME}, ${NAME:-else} and $NAME are a shell's.
_VARIABLE = re.compile(
    r"\$\$|\$\((?P<k8s>[\w.-]+)\)|\$\{(?P<braced>\w+)(?::?-(?P<otherwise>[^}]*))?\}|\$(?P<plain>\w+)"
)
_ROOM = 2**14
_ENDS_COMMAND = {"&", "&&", "|", "||", ";"}
_HERE_ONLY = re.compile(r"127\.|localhost$|::1$")


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a scheduler listens in its Pod.

    :ivar scheme: of Dask's protocol: ``tcp``, ``tls``, ``ws``, ...
    :ivar comm: port for workers and clients.
    :ivar http_scheme: ``http`` or ``https``.
    :ivar http: port of the dashboard.
    :ivar prefix: of its paths, as ``/dask/demo``; empty: none.
    """

    scheme: str = "tcp"
    comm: int = names.COMM_PORT
    http_scheme: str = "http"
    http: int = names.DASHBOARD_PORT
    prefix: str = ""


def of_scheduler(container: Container) -> Listening:
    """What its words say; else the ports of the names ``tcp-comm`` and ``http-dashboard``; else Dask's defaults."""
    words, env = _words(container, labels.SCHEDULER), _values(container.env)
    host, ports = _said(words, "--host") or "", container.ports
    return Listening(
        _scheme(words, host, env),
        _port(_said(words, "--port")) or _port_of(host) or ports.get("tcp-comm") or names.COMM_PORT,
        "https" if env.get(_DASHBOARD_TLS_ENV) else "http",
        _port(_said(words, "--dashboard-address"))
        or ports.get("http-dashboard")
        or names.DASHBOARD_PORT,
        _prefix(words),
    )


def leaves_open(container: Container) -> bool:
    """May a scheduler in it listen elsewhere than its words say?

    By a program that is not Dask's own, variables or options whose values are not here, or files of configuration.
    """
    words = _words(container, labels.SCHEDULER)
    known = container.env
    return bool(
        ((container.command or container.args) and words == _all_words(container))
        or container.fields.get("envFrom")
        or "DASK_CONFIG" in known
        or any(value is None and name.startswith("DASK_") for name, value in known.items())
        or any("$" in word for word in words)
        or any(path == "/etc/dask" or "/.config/dask" in path for path in container.mounts)
    )


def health_of_worker(container: Container) -> tuple[int, str] | None:
    """Port and path at which a worker tells the kubelet that it works; None: its words fix none.

    None also where it listens for its own Pod alone.
    """
    words = _words(container, labels.WORKER)
    said = _said(words, "--dashboard-address") or ""
    host = said.partition(",")[0].rpartition(":")[0].rpartition("/")[2]
    number = _port(said)
    if not number or _HERE_ONLY.match(host.strip("[]")):
        return None
    return number, f"{_prefix(words)}/health"


def _scheme(words: list[str], host: str, env: Mapping[str, str]) -> str:
    protocol = (_said(words, "--protocol") or "").partition(",")[0].removesuffix("://")
    scheme, found, _ = host.partition("://")
    if not protocol and found:
        protocol = scheme
    if not protocol and (
        (not host and any(_said(words, option) for option in _TLS))
        or env.get(_ENCRYPTED_ENV, "").lower() in ("true", "1")
    ):
        protocol = "tls"
    protocol = protocol or env.get(_SCHEME_ENV) or "tcp"
    return protocol if re.fullmatch(r"[a-z][a-z0-9+.-]{0,19}", protocol) else "tcp"


def _prefix(words: list[str]) -> str:
    said = (_said(words, "--dashboard-prefix") or "").strip("/")
    return f"/{said}" if said and re.fullmatch(r"[\w./~-]{1,200}", said) else ""


def _port(said: str | None) -> int | None:
    """``9000``, ``:9000``, ``0.0.0.0:9000``; of several the first."""
    number = (said or "").partition(",")[0].rpartition(":")[2]
    fits = number.isdecimal() and number.isascii() and len(number) < 6
    return int(number) if fits and 0 < int(number) < 2**16 else None


def _port_of(host: str) -> int | None:
    """Of ``tls://0.0.0.0:9000``."""
    return _port(host) if ":" in host.rpartition("://")[2] else None


def _said(words: list[str], option: str) -> str | None:
    """What ``--option value`` or ``--option=value`` says; of several the last one counts."""
    found = None
    for index, word in enumerate(words):
        if word == option and index + 1 < len(words):
            found = words[index + 1]
        elif word.startswith(f"{option}="):
            found = word[len(option) + 1 :]
    return None if found is None else found.strip("'\"")


def _words(container: Container, component: str) -> list[str]:
    """The words of the command that starts this component; all there are, where none seems to."""
    words = _all_words(container)
    starts = re.compile(rf"dask[-_]{component}$")
    for at, word in enumerate(words):
        group = at and words[at - 1].rpartition("/")[2] == "dask" and word == component
        if group or starts.search(word):
            rest = words[at + 1 :]
            end = next((n for n, w in enumerate(rest) if w in _ENDS_COMMAND), len(rest))
            return rest[:end]
    return words


def _all_words(container: Container) -> list[str]:
    expand = _Expand(_values(container.env))
    return [
        part
        for word in (*container.command, *container.args)
        for part in expand(word).replace(";", " ; ").split()
    ]


def _values(env: Mapping[str, str | None]) -> dict[str, str]:
    """The variables whose values are known, each with those before it in its place."""
    expand = _Expand()
    for name, value in env.items():
        if value is not None:
            expand.env[name] = expand(value)
    return expand.env


class _Expand:
    """Puts the values of variables into texts.

    A variable that nobody knows stays as it is written, and so does a text that would grow too long: variables that
    hold each other double with each step.

    :ivar room: characters by which all texts together may still grow.
    """

    def __init__(self, env: dict[str, str] | None = None) -> None:
        self.env: dict[str, str] = {} if env is None else env
        self.room = _ROOM

    def __call__(self, text: str) -> str:
        if "$" not in text:
            return text
        parts, at, length = [], 0, 0
        for match in _VARIABLE.finditer(text):
            parts += [text[at : match.start()], self._value(match)]
            at = match.end()
            length += len(parts[-2]) + len(parts[-1])
            if length - at > self.room:
                return text
        new = "".join([*parts, text[at:]])
        self.room -= max(0, len(new) - len(text))
        return new

    def _value(self, match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name = match["k8s"] or match["braced"] or match["plain"]
        return self.env.get(
            name, match["otherwise"] if match["otherwise"] is not None else match[0]
        )
