"""Programs that log in for us: what a cloud's kubeconfig names under ``exec``.

Source of the protocol: https://kubernetes.io/docs/reference/config-api/client-authentication.v1/
"""

from __future__ import annotations

import codecs
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, ClassVar

from .credentials import CredentialsError

JSON = dict[str, Any]
#: A person may have to open a page and type a code meanwhile; nobody needs longer.
PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class Given:
    """What a plugin gave: a token, or a client's certificate with its key (PEM), or both.

    :ivar valid_s: from now on; None: until the server refuses it.
    """

    token: str = ""
    certificate: str = ""
    key: str = ""
    valid_s: float | None = None


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """How to run a plugin.

    :ivar where: file and context, for messages.
    :ivar cluster: what it is told of the cluster; None where it did not ask.
    """

    VERSIONS: ClassVar = (
        "client.authentication.k8s.io/v1",
        "client.authentication.k8s.io/v1beta1",
    )
    MODES: ClassVar = ("Never", "IfAvailable", "Always")

    where: str
    command: tuple[str, ...]
    version: str
    env: Mapping[str, str]
    mode: str
    install_hint: str = ""
    cluster: JSON | None = None

    def run(self, patience_s: float = PATIENCE_S) -> Given:
        """Run it. Blocks. What it prints to stderr is shown at once: it may be a question.

        :param patience_s: after so many seconds it is killed.
        :raises CredentialsError: it is not there, failed, or gave nothing that can be used.
        """
        has_terminal = sys.stdin is not None and sys.stdin.isatty()
        if self.mode == "Always" and not has_terminal:
            raise self._wrong("needs a terminal, and there is none")
        interactive = has_terminal and self.mode != "Never"
        environment = self._environment(interactive)
        program = self._program(environment)
        try:
            process = subprocess.Popen(
                [program, *self.command[1:]],
                stdin=None if interactive else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
            )
        except (OSError, ValueError) as error:  # the latter for zero bytes in words
            raise self._wrong(f"cannot be run: {error}") from None
        assert process.stdout is not None
        assert process.stderr is not None
        answer: list[str] = []
        said: deque[str] = deque(maxlen=20)
        readers = [
            threading.Thread(target=_pass_on, args=words, daemon=True)
            for words in ((process.stdout, answer, None), (process.stderr, said, sys.stderr))
        ]
        for reader in readers:
            reader.start()
        timed_out = False
        try:
            process.wait(timeout=patience_s)
        except subprocess.TimeoutExpired:
            timed_out = True
            process.kill()
            process.wait()
        for reader in readers:
            reader.join(timeout=2)  # a child that outlives it may hold the pipes open
        printed = "".join(said).strip() or "it printed nothing"
        if timed_out:
            raise self._wrong(f"did not end within {patience_s:.0f} s: {printed}")
        if process.returncode:
            raise self._wrong(f"failed with exit code {process.returncode}: {printed}")
        return self._given("".join(answer))

    def run_quietly(self, patience_s: float) -> Given:
        """The same at the end of an interpreter: without threads, shows nothing and asks nobody.

        :raises CredentialsError: as `run`.
        """
        if self.mode == "Always":
            raise self._wrong("needs a terminal, and the program ends")
        environment = self._environment(interactive=False)
        program = self._program(environment)
        try:
            done = subprocess.run(
                [program, *self.command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                timeout=patience_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise self._wrong(f"did not end within {patience_s:.0f} s") from None
        except (OSError, ValueError) as error:
            raise self._wrong(f"cannot be run: {error}") from None
        if done.returncode:
            raise self._wrong(f"failed with exit code {done.returncode}")
        return self._given(done.stdout.decode("utf-8", "replace"))

    def _environment(self, interactive: bool) -> dict[str, str]:
        spec: JSON = {"interactive": interactive}
        if self.cluster is not None:
            spec["cluster"] = self.cluster
        told = {"apiVersion": self.version, "kind": "ExecCredential", "spec": spec}
        return {**os.environ, **self.env, "KUBERNETES_EXEC_INFO": json.dumps(told)}

    def _program(self, environment: Mapping[str, str]) -> str:
        """Its path."""
        program = shutil.which(self.command[0], path=environment.get("PATH"))
        if program is None:
            hint = f": {self.install_hint}" if self.install_hint else "; install it"
            raise self._wrong(f"was not found{hint}")
        return program

    def _given(self, answer: str) -> Given:
        """Read what it printed."""
        try:
            told = json.loads(answer)
            status = told["status"]
            kind, version = told.get("kind"), told.get("apiVersion")
            found = [
                status.get(name) or ""
                for name in ("token", "clientCertificateData", "clientKeyData")
            ]
            until = status.get("expirationTimestamp")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise self._wrong("printed no ExecCredential with a status") from None
        if kind != "ExecCredential" or version != self.version:
            raise self._wrong(
                f"printed {kind} of {version}; the kubeconfig expects an ExecCredential of "
                f"{self.version}"
            )
        if not all(isinstance(one, str) for one in found):
            raise self._wrong("printed a token or certificate that is no string")
        token, certificate, key = found
        if bool(certificate) != bool(key):
            raise self._wrong(
                "gave a certificate without its key, or a key without its certificate"
            )
        if not token and not certificate:
            raise self._wrong("gave neither a token nor a certificate")
        return Given(token, certificate, key, None if until is None else self._valid(until))

    def _valid(self, until: Any) -> float:
        """Seconds until a time such as 2026-01-31T12:00:00Z."""
        try:
            moment = datetime.fromisoformat(until)
        except (ValueError, TypeError):
            raise self._wrong(f"gave an expirationTimestamp that is no time: {until!r}") from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp() - time.time()

    def _wrong(self, why: str) -> CredentialsError:
        return CredentialsError(f"kubeconfig {self.where}: exec plugin {self.command[0]!r} {why}")


def _pass_on(stream: IO[bytes], kept: list[str] | deque[str], to: IO[str] | None) -> None:
    """Keep what it prints, and show it: at once, for a question ends without a new line."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with stream:
        while data := os.read(stream.fileno(), 65536):
            kept.append(decoder.decode(data))
            if to is not None:
                print(kept[-1], end="", file=to, flush=True)
