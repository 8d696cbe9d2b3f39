"""Looks at a real API server from inside this process: what `kubectl get -o json` shows, without a program for each look."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import urllib3
from kubernetes import config

JSON = dict[str, Any]

PATIENCE_S = 30.0
_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class Refused(Exception):
    """The API server said no, or something else answered.

    :ivar code: HTTP status.
    """

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


@dataclass(frozen=True)
class Resource:
    """A kind as the API server serves it."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    names: frozenset[str]

    def path(self, namespace: str) -> str:
        """Of its collection."""
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        where = f"/namespaces/{quote(namespace)}" if self.namespaced else ""
        return f"{base}{where}/{self.plural}"


class Reader:
    """GET requests with a kubeconfig's rights, over connections that stay open."""

    def __init__(self, kubeconfig: str) -> None:
        client = config.new_client_from_config(kubeconfig)
        self._pool = client.rest_client.pool_manager
        self._host = client.configuration.host
        key = client.configuration.get_api_key_with_prefix("authorization")
        self._headers = {"authorization": key} if key else {}
        self._resources: list[Resource] = []

    def get(self, kind: str, name: str, namespace: str) -> JSON:
        """One object.

        :raises Refused: as the API server words it; 404 where it is not there.
        """
        found: JSON = self._ask(f"{self._resource(kind).path(namespace)}/{quote(name)}")
        return found

    def list(self, kinds: str, namespace: str, selector: str = "") -> list[JSON]:
        """All objects of the kinds (``a,b``), without managedFields, as kubectl shows lists."""
        found = []
        for kind in kinds.split(","):
            resource = self._resource(kind)
            query = f"?{urlencode({'labelSelector': selector})}" if selector else ""
            answer = self._ask(resource.path(namespace) + query)
            for item in answer["items"]:
                item["metadata"].pop("managedFields", None)
                found.append(
                    {"apiVersion": answer["apiVersion"], "kind": resource.kind, **item},
                )
        return found

    def _resource(self, word: str) -> Resource:
        """What kubectl would understand by a word: plural, singular, kind, short name, with or without the group."""
        for again in (False, True):
            if again or not self._resources:
                self._resources = list(self._discover())
            name, _, group = word.lower().partition(".")
            for resource in self._resources:
                if name in resource.names and group in (
                    "", resource.group, f"{resource.version}.{resource.group}",
                ):  # fmt: skip
                    return resource
        raise Refused(404, f'the server doesn\'t have a resource type "{word}"')

    def _discover(self) -> Iterator[Resource]:
        for path in ("/api", "/apis"):
            for group in self._ask(path, accept=_DISCOVERY)["items"]:
                for version in group["versions"]:
                    for found in version["resources"]:
                        if "responseKind" not in found:
                            continue  # only subresources of it are served
                        kind = found["responseKind"]["kind"]
                        names = {found["resource"], found.get("singularResource"), kind.lower()}
                        yield Resource(
                            group["metadata"].get("name", ""),
                            version["version"],
                            found["resource"],
                            kind,
                            found["scope"] == "Namespaced",
                            frozenset({*names, *found.get("shortNames", ())} - {"", None}),
                        )

    def _ask(self, path: str, accept: str = "application/json") -> JSON:
        """:raises OSError: no answer; urllib3's own errors are kept as its cause."""
        try:
            answer = self._pool.request(
                "GET",
                self._host + path,
                headers={**self._headers, "accept": accept},
                timeout=PATIENCE_S,
                # A connection that was kept open may have ended with the server that it led to.
                retries=urllib3.Retry(connect=0, read=1, redirect=0, other=0),
            )
        except urllib3.exceptions.HTTPError as error:
            raise ConnectionError(f"no answer from {self._host}: {error}") from error
        if answer.status == 200:
            found: JSON = json.loads(answer.data)
            return found
        try:
            status = json.loads(answer.data)
            words = f"Error from server ({status['reason']}): {status['message']}"
        except (ValueError, KeyError, TypeError):
            words = f"Error from server: {answer.status} {answer.data[:200]!r}"
        raise Refused(answer.status, words)


@functools.cache
def reader(kubeconfig: str, written: int) -> Reader:
    """The reader of a kubeconfig.

    :param written: when the file was written (ns), as a new instance writes it anew.
    """
    return Reader(kubeconfig)
