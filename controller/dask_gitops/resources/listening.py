"""Pure: where the Dask server in a container listens, as far as its own words tell.

Command, arguments and variables are read as Kubernetes, a shell and Dask's command line read them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from dask_gitops.model.podspec import Container
from dask_gitops.resources import labels, names
from dask_gitops.resources.commands import Programs, Word, starts

_SCHEME_ENV = "DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME"
_ENCRYPTED_ENV = "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"
_DASHBOARD_TLS_ENV = "DASK_DISTRIBUTED__SCHEDULER__DASHBOARD__TLS__CERT"
_TLS = ("--tls-cert", "--tls-key", "--tls-ca-file")
# Nothing is read twice: what one could be ends where the next begins.
_KUBERNETES = re.compile(r"\$\$|\$\((?P<name>[\w.-]+)\)")  # $$ is one dollar sign
_SHELL = re.compile(r"\$\{(?P<braced>\w+)(?::?-(?P<otherwise>[^}$]*))?\}|\$(?P<plain>\w+)")
_ALL_ARGUMENTS = ("$@", "$*", "${@}", "${*}")
_ROOM = 2**14
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
    words, env = _words(container, labels.SCHEDULER).options, _values(container.env)
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
        ((container.command or container.args) and not words.found)
        or container.fields.get("envFrom")
        or "DASK_CONFIG" in known
        or any(value is None and name.startswith("DASK_") for name, value in known.items())
        or any("$" in word for word in words.options)
        or any(path == "/etc/dask" or "/.config/dask" in path for path in container.mounts)
    )


def health_of_worker(container: Container) -> tuple[int, str] | None:
    """Port and path at which a worker tells the kubelet that it works; None: its words fix none.

    None also where it listens for its own Pod alone.
    """
    words = _words(container, labels.WORKER).options
    said = _said(words, "--dashboard-address") or ""
    host = said.partition(",")[0].rpartition(":")[0].rpartition("/")[2]
    number = _port(said)
    if not number or _HERE_ONLY.match(host.strip("[]")):
        return None
    return number, f"{_prefix(words)}/health"


def _scheme(words: Sequence[str], host: str, env: Mapping[str, str]) -> str:
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


def _prefix(words: Sequence[str]) -> str:
    said = (_said(words, "--dashboard-prefix") or "").strip("/")
    return f"/{said}" if said and re.fullmatch(r"[\w./~-]{1,200}", said) else ""


def _port(said: str | None) -> int | None:
    """``9000``, ``:9000``, ``0.0.0.0:9000``; of several the first."""
    return names.port_number((said or "").partition(",")[0].rpartition(":")[2])


def _port_of(host: str) -> int | None:
    """Of ``tls://0.0.0.0:9000``."""
    return _port(host) if ":" in host.rpartition("://")[2] else None


def _said(words: Sequence[str], option: str) -> str | None:
    """What ``--option value`` or ``--option=value`` says; of several the last one counts."""
    found = None
    for index, word in enumerate(words):
        if word == option and index + 1 < len(words):
            found = words[index + 1]
        elif word.startswith(f"{option}="):
            found = word[len(option) + 1 :]
    return None if found is None else found.strip("'\"")


class _Words(NamedTuple):
    """:ivar options: of the commands that start the component; all words there are, where none seems to.
    :ivar found: one does.
    """

    options: tuple[str, ...]
    found: bool


def _words(container: Container, component: str) -> _Words:
    return _read((*container.command, *container.args), tuple(container.env.items()), component)


@lru_cache(maxsize=64)  # asked for several times in a turn, and by each worker's manifest
def _read(
    words: tuple[str, ...], variables: tuple[tuple[str, str | None], ...], component: str
) -> _Words:
    reading = Reading(_values(dict(variables)))
    run = [reading.of_kubernetes(word) for word in words]
    if commands := starts(run, component):
        texts, options = Programs(run).texts, []
        behind = run[texts[0] + 1 :] if texts else []  # what a shell text calls "$@"
        for part in (part for some in commands for word in some for part in reading.parts(word)):
            if part in _ALL_ARGUMENTS:
                options += behind
                behind = []  # once is enough to know them
            else:
                options.append(part)
        return _Words(tuple(options), True)
    # Behind programs that nobody knows.
    some = [part for word in run for part in reading.expand(word).split()]
    for at, part in enumerate(some):
        group = at and some[at - 1].rpartition("/")[2] == "dask" and part == component
        if group or part.endswith((f"dask-{component}", f"dask_{component}")):
            return _Words(tuple(some[at + 1 :]), True)
    return _Words(tuple(some), False)


class Reading:
    """What Kubernetes and a shell make of the words of one container."""

    def __init__(self, env: dict[str, str]) -> None:
        self.of_kubernetes = _Expand(env, _KUBERNETES)
        self.expand = _Expand(env, _SHELL)

    @classmethod
    def of(cls, container: Container) -> Reading:
        return cls(_values(container.env))

    def parts(self, word: Word) -> list[str]:
        """The words that a word becomes."""
        if word.raw is None or word.raw[:1] == "'":
            return [word.text]
        new = self.expand(word.text)
        return [new] if '"' in word.raw else new.split()


def _values(env: Mapping[str, str | None]) -> dict[str, str]:
    """The variables whose values are known, each with those before it in its place."""
    expand = _Expand({}, _KUBERNETES)
    for name, value in env.items():
        if value is not None:
            expand.env[name] = expand(value)
    return expand.env


class _Expand:
    """Puts the values of variables into texts.

    A variable that nobody knows stays as it is written, and so does a text that would grow too long: variables that
    hold each other double with each step.

    :ivar pattern: how one is written.
    :ivar room: characters by which all texts together may still grow.
    """

    def __init__(self, env: dict[str, str], pattern: re.Pattern[str]) -> None:
        self.env = env
        self.pattern = pattern
        self.room = _ROOM

    def __call__(self, text: str) -> str:
        if "$" not in text:
            return text
        parts, at, length = [], 0, 0
        for match in self.pattern.finditer(text):
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
        found = match.groupdict()
        name = found.get("name") or found.get("braced") or found["plain"]
        otherwise = found.get("otherwise")
        return self.env.get(name, match[0] if otherwise is None else otherwise)
