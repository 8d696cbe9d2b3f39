"""A real API server seen by tests: kubectl, looks with words, and the audit log."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tests.support import api
from tests.support.accounts import accounts
from tests.support.machine import Ticks, news

T = TypeVar("T")
JSON = dict[str, Any]

LOOKS_SHARE = 10  # between two looks lies so many times what a look takes, however much happens


class CommandError(AssertionError):
    """A command failed; the message is what it printed."""


class LabRefused(CommandError):
    """Nobody listens where our own lab should: it is the machine's or the lab's failure, not the product's."""


def refusal(words: str) -> CommandError:
    """What to raise for what a program printed."""
    refused = "connection refused" in words.lower() or "was refused - did you" in words
    return LabRefused(words) if refused else CommandError(words)


def run(
    *command: str | Path,
    env: dict[str, str] | None = None,
    stdin: str | None = None,
    timeout: float = 300,
) -> str:
    """Output of a command.

    :raises CommandError: with everything it printed.
    """
    words = [str(word) for word in command]
    accounts.kubectl += words[0] == "kubectl"
    done = subprocess.run(
        words,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(env or {})},
    )
    if done.returncode:
        raise refusal(f"$ {' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout


def eventually(what: str, look: Callable[[], T], *, timeout: float = 60, every: float = 0.2) -> T:
    """The first true answer of ``look``, which is asked anew at once when a watch tells something, else every so often.

    An AssertionError raised by it says what is still missing; a KeyError, which field nobody has written yet.

    :raises MachineStalled: it did not come, and this process was kept from running meanwhile.
    """
    end = time.monotonic() + timeout
    ticks = Ticks()
    while True:
        began, seen = time.monotonic(), news.count
        try:
            answer = look()
            if answer:
                return answer
            missing = repr(answer)
        except AssertionError as error:
            missing = str(error)
        except KeyError as error:
            missing = f"no {error}"
        if time.monotonic() > end:
            raise ticks.failure(f"{what}: not within {timeout:.0f} s; last: {missing}")
        took = time.monotonic() - began
        ticks.wait(every, seen, at_least=min(every, max(0.02, LOOKS_SHARE * took)))


@dataclass(frozen=True)
class Kubectl:
    """kubectl on one cluster (and one namespace). Looks (``get``, ``list``, ``exists``) start no program."""

    kubeconfig: str
    namespace: str = "default"

    def __call__(self, *words: str, stdin: str | None = None, timeout: float = 300) -> str:
        return run(
            "kubectl",
            "--kubeconfig",
            self.kubeconfig,
            "-n",
            self.namespace,
            *words,
            stdin=stdin,
            timeout=timeout,
        )

    def get(self, kind: str, name: str) -> JSON:
        """One object, with its managedFields."""
        return self._look(f"{kind} {name}", lambda r: r.get(kind, name, self.namespace))

    def list(self, kind: str, selector: str = "") -> list[JSON]:
        """The objects of a kind, or of several (``a,b``)."""
        return self._look(kind, lambda r: r.list(kind, self.namespace, selector))

    def exists(self, kind: str, name: str) -> bool:
        try:
            self.get(kind, name)
        except CommandError as error:
            if isinstance(error.__cause__, api.Refused) and error.__cause__.code == 404:
                return False
            raise
        return True

    def _look(self, what: str, ask: Callable[[api.Reader], T]) -> T:
        written = os.stat(self.kubeconfig).st_mtime_ns
        try:
            return ask(api.reader(self.kubeconfig, written))
        except api.Refused as error:
            raise CommandError(f"{what} in {self.namespace}: {error}") from error
        except ConnectionError as error:
            raise refusal(f"{what} in {self.namespace}: {error}") from error

    def apply(self, *manifests: JSON) -> str:
        return self("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests))

    def delete(self, kind: str, name: str, *words: str) -> None:
        self("delete", kind, name, "--ignore-not-found", *words)


def condition(resource: JSON, type_: str) -> JSON:
    """The condition of that type, ``{}`` if it is not there."""
    found = (resource.get("status") or {}).get("conditions") or []
    return next((c for c in found if c["type"] == type_), {})


def is_ready(resource: JSON) -> bool:
    status = resource.get("status") or {}
    return (
        status.get("observedGeneration") == resource["metadata"]["generation"]
        and condition(resource, "Ready").get("status") == "True"
    )


def may_have_taken_effect(entry: JSON) -> bool:
    """Of a finished request in the audit log: it has, or its client was killed before the answer (504); no dry run does."""
    code = entry["responseStatus"]["code"]
    return bool(code < 300 or code == 504) and not is_dry_run(entry)


def is_dry_run(entry: JSON) -> bool:
    """Of a request in the audit log: it was only tried."""
    return "dryRun=" in entry["requestURI"]


@dataclass
class Audit:
    """The API server's audit log from the moment this was made."""

    path: Path
    start: int = 0

    @classmethod
    def now(cls, path: Path) -> Audit:
        return cls(path, path.stat().st_size)

    def requests(
        self,
        verb: str | None = None,
        resource: str | None = None,
        *,
        namespace: str | None = None,
        user: str | None = None,
    ) -> list[JSON]:
        """Finished requests, oldest first."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            lines = file.read().split(b"\n")
        found = []
        for line in lines[:-1]:
            entry = json.loads(line)
            ref = entry.get("objectRef") or {}
            if (
                entry["stage"] == "ResponseComplete"
                and verb in (None, entry["verb"])
                and resource in (None, ref.get("resource"))
                and namespace in (None, ref.get("namespace"))
                and user in (None, entry["user"]["username"])
            ):
                found.append(entry)
        return found

    def done(self, verb: str, resource: str, **where: str) -> list[JSON]:
        """Requests on the objects themselves (no subresources) that took effect."""
        return [
            r
            for r in self.requests(verb, resource, **where)
            if r["responseStatus"]["code"] < 300
            and "subresource" not in r["objectRef"]
            and not is_dry_run(r)
        ]

    def touched(self, verb: str, resource: str, **where: str) -> set[str]:
        """Names of the objects that requests changed, also when their client was killed before the answer.

        Such a request is logged with 504; most have taken effect.
        """
        return {
            r["objectRef"]["name"]
            for r in self.requests(verb, resource, **where)
            if "subresource" not in r["objectRef"] and may_have_taken_effect(r)
        }
