"""What tests say to git, Argo CD and Flux, and what those answer."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config, watch

from tests.support.kubernetes import Kubectl, condition, eventually, run
from tests.support.machine import news

JSON = dict[str, Any]
ARGO = "argocd"
IN_CLUSTER = "https://kubernetes.default.svc"
PATIENCE_S = 150  # on a busy machine


@dataclass(frozen=True)
class Lab:
    """Where everything is, as `ci/gitops up` tells it."""

    name: str
    kubeconfig: str
    git: str
    charts: str
    argocd: str
    metrics: str
    folder: Path

    def repo(self, name: str, clone: Path) -> Repo:
        """A new repository and a clone of it.

        :param clone: a folder that is not there yet.
        """
        bare = self.folder / "web/git" / f"{name}.git"
        run("git", "init", "--quiet", "--bare", "--initial-branch=main", bare)
        run("git", "-C", bare, "config", "http.receivepack", "true")
        url = f"{self.git}/{name}.git"
        run("git", "clone", "--quiet", url, clone)
        return Repo(url, clone)


@dataclass
class Repo:
    """A git repository; ``push`` is what a person does.

    :ivar pushed: when the last push was accepted (time.monotonic()).
    """

    url: str
    clone: Path
    pushed: float = 0

    def push(self, **files: Any) -> str:
        """Commit these files (dots in names written as ``__``; None deletes) and push; the commit."""
        return self.push_files(
            {name.replace("__", "."): content for name, content in files.items()}
        )

    def push_files(self, files: dict[str, Any]) -> str:
        for name, content in files.items():
            file = self.clone / name
            if content is None:
                file.unlink()
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, list):
                file.write_text(yaml.safe_dump_all(content))
            else:
                file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        self._git("add", "--all")
        self._git("commit", "--quiet", "--allow-empty", "-m", "change")
        return self._send()

    def revert(self) -> str:
        """Push a commit that takes the last one back; the commit."""
        self._git("revert", "--no-edit", "HEAD")
        return self._send()

    def _send(self) -> str:
        self._git("push", "--quiet", "origin", "HEAD:main")
        self.pushed = time.monotonic()
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *words: str) -> str:
        who = ("-c", "user.name=test", "-c", "user.email=test@example.com")
        return run("git", "-C", self.clone, *who, *words)


@dataclass
class Argo:
    """Applications, and all that they ever showed."""

    lab: Lab
    admin: Kubectl
    seen: dict[str, list[JSON]] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        api = client.CustomObjectsApi(config.new_client_from_config(self.lab.kubeconfig))
        since: str | None = None
        while not self._stop.is_set():
            stream = watch.Watch().stream(
                api.list_namespaced_custom_object, "argoproj.io", "v1alpha1", ARGO, "applications",
                resource_version=since, timeout_seconds=5,
            )  # fmt: skip
            try:
                for event in stream:
                    app = event["object"]
                    app["seen"] = time.monotonic()
                    since = app["metadata"]["resourceVersion"]
                    self.seen.setdefault(app["metadata"]["name"], []).append(app)
                    news.tell()
            except Exception:  # such as 410: the server has forgotten that version
                since = None
                self._stop.wait(0.5)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(30)

    def app(self, name: str, namespace: str, *sources: JSON, **more: Any) -> None:
        """Make an Application that syncs by itself.

        :param more: ``options``: sync options; ``annotations``; ``project``; other fields of its spec.
        """
        options = more.pop("options", [])
        metadata: JSON = {
            "name": name,
            "namespace": ARGO,
            "annotations": more.pop("annotations", {}),
        }
        metadata["finalizers"] = ["resources-finalizer.argocd.argoproj.io"]
        automated = {"prune": True, "selfHeal": True}
        spec: JSON = {
            "project": more.pop("project", "default"),
            "destination": {"server": IN_CLUSTER, "namespace": namespace},
            "syncPolicy": {"automated": automated, "syncOptions": options},
            "sources": list(sources),
            **more,
        }
        kind = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application"}
        self.admin.apply({**kind, "metadata": metadata, "spec": spec})

    def clusters(self, name: str, namespace: str, repo: Repo, **more: Any) -> None:
        """An Application of the package `dask-clusters`, with values.yaml of a repository."""
        helm = {"valueFiles": ["$values/values.yaml"]}
        chart = {
            "repoURL": self.lab.charts,
            "chart": "dask-clusters",
            "targetRevision": "*",
            "helm": helm,
        }
        values = {"repoURL": repo.url, "targetRevision": "main", "ref": "values"}
        self.app(name, namespace, chart, values, **more)

    def status(self, name: str) -> JSON:
        found: JSON = self.admin.get("application", name).get("status") or {}
        return found

    def wait(
        self, name: str, *, sync: str = "Synced", health: str = "Healthy", commit: str = "",
        message: str = "", timeout: float = PATIENCE_S,
    ) -> JSON:  # fmt: skip
        """Until the application is like that, at that commit; its status."""

        def look() -> JSON | None:
            status = self.status(name)
            shown = (status["sync"]["status"], status["health"]["status"])
            revisions = status["sync"].get("revisions") or [status["sync"].get("revision")]
            told = " · ".join(messages(status))
            assert shown == (sync, health), f"{shown} {told} {errors(status)}"
            assert not commit or commit in revisions, f"at {revisions}"
            assert message in told, told
            return status

        return eventually(f"{name} is {sync} and {health} {message}", look, timeout=timeout)  # type: ignore[return-value]

    def history(self, name: str, since: float = 0) -> list[JSON]:
        """Every state of an application that a watch told since then."""
        return [app for app in self.seen.get(name, ()) if app["seen"] >= since]

    def set(self, key: str, value: str | None) -> None:
        """A key of argocd-cm; None takes it away."""
        patch = json.dumps({"data": {key: value}})
        self.admin("patch", "configmap", "argocd-cm", "--type=merge", "-p", patch)

    def refresh(self, name: str, how: str = "normal") -> None:
        """Have it look again, and wait until it has."""
        note = "argocd.argoproj.io/refresh"
        self.admin("annotate", "--overwrite", "application", name, f"{note}={how}")

        def done() -> bool:
            return note not in (
                self.admin.get("application", name)["metadata"].get("annotations") or {}
            )

        eventually(f"{name} is compared", done, timeout=PATIENCE_S)

    def act(self, app: str, action: str, kind: str, name: str, **parameters: object) -> None:
        """An action of its page, as the page asks for it."""
        namespace = self.admin.get("application", app)["spec"]["destination"]["namespace"]
        asked = {
            "name": app,
            "namespace": namespace,
            "group": "kubernetes.dask.org",
            "version": "v1",
            "kind": kind,
            "resourceName": name,
            "action": action,
            "resourceActionParameters": [
                {"name": key, "value": str(value)} for key, value in parameters.items()
            ],
        }
        url = f"{self.lab.argocd}/api/v1/applications/{app}/resource/actions/v2"
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, json.dumps(asked).encode(), headers)
        try:
            urllib.request.urlopen(request, timeout=30).close()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{action} of {kind} {name}: {error.read().decode()}") from None

    def delete(self, name: str, *, cascade: bool = False) -> None:
        if not cascade:
            patch = '{"metadata": {"finalizers": null}}'
            self.admin("patch", "application", name, "--type=merge", "-p", patch)
        self.admin.delete("application", name, "--wait=false")


def messages(status: JSON) -> Iterator[str]:
    """What Argo CD says about the health of an application's objects."""
    for one in status.get("resources") or ():
        health = one.get("health") or {}
        if health.get("message"):
            yield f"{one['kind']} {one['name']}: {health['status']}, {health['message']}"


def errors(status: JSON) -> str:
    """What went wrong with an application, for people who look at a failed test."""
    words = [c["message"] for c in status.get("conditions") or ()]
    operation = status.get("operationState") or {}
    return " · ".join([*words, operation.get("message") or ""])[:800]


@dataclass
class Flux:
    """Flux's objects in one namespace."""

    kubectl: Kubectl

    def source(self, repo: Repo, name: str = "repo") -> None:
        spec = {"interval": "1h", "url": repo.url, "ref": {"branch": "main"}}
        self._apply("source.toolkit.fluxcd.io/v1", "GitRepository", name, spec)

    def charts(self, lab: Lab) -> None:
        spec = {"interval": "1h", "url": lab.charts}
        self._apply("source.toolkit.fluxcd.io/v1", "HelmRepository", "charts", spec)

    def kustomization(self, name: str, path: str = "./", **more: Any) -> None:
        """:param more: fields of its spec."""
        spec: JSON = {
            "interval": "1h",
            "retryInterval": "2s",
            "path": path,
            "prune": True,
            "wait": True,
            "timeout": "10m",
            "targetNamespace": self.kubectl.namespace,
            "sourceRef": {"kind": "GitRepository", "name": "repo"},
            **more,
        }
        self._apply("kustomize.toolkit.fluxcd.io/v1", "Kustomization", name, spec)

    def release(self, name: str, values: JSON, chart: str = "dask-clusters", **more: Any) -> None:
        """A HelmRelease of a package of this checkout."""
        self.kubectl.apply(self.release_manifest(name, values, chart, **more))

    def release_manifest(
        self, name: str, values: JSON, chart: str = "dask-clusters", **more: Any
    ) -> JSON:
        """The same, for git."""
        source = {"kind": "HelmRepository", "name": "charts"}
        spec: JSON = {
            "interval": "1h",
            "timeout": "10m",
            "chart": {"spec": {"chart": chart, "version": "*", "sourceRef": source}},
            "values": values,
            **more,
        }
        return self._made("helm.toolkit.fluxcd.io/v2", "HelmRelease", name, spec)

    def ready(
        self,
        kind: str,
        name: str,
        commit: str = "",
        status: str = "True",
        timeout: float = PATIENCE_S,
    ) -> JSON:
        """Until it is ready (or not, or unknown) for its own generation and that commit; its Ready condition."""

        def look() -> JSON | None:
            found = self.kubectl.get(kind, name)
            told = condition(found, "Ready")
            now = found["status"]
            tried = (
                now.get("lastAppliedRevision")
                if status == "True"
                else now.get("lastAttemptedRevision")
            )
            assert now.get("observedGeneration") == found["metadata"]["generation"]
            assert told.get("status") == status, json.dumps(now.get("conditions"))
            assert commit in (tried or ""), f"at {tried}"
            return told

        return eventually(f"{kind} {name} is Ready={status}", look, timeout=timeout)  # type: ignore[return-value]

    def _apply(self, version: str, kind: str, name: str, spec: JSON) -> None:
        self.kubectl.apply(self._made(version, kind, name, spec))

    def _made(self, version: str, kind: str, name: str, spec: JSON) -> JSON:
        metadata = {"name": name, "namespace": self.kubectl.namespace}
        return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


Tell = Callable[[str, str, float], None]


def pods(kubectl: Kubectl, component: str = "worker", cluster: str = "demo") -> list[JSON]:
    """The living pods of a cluster."""
    selector = f"dask.org/cluster-name={cluster},dask.org/component={component}"
    found = kubectl.list("pods", selector)
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def uids(kubectl: Kubectl, cluster: str = "demo") -> set[str]:
    """Which pods, scheduler and workers, a cluster has."""
    return {
        pod["metadata"]["uid"]
        for component in ("scheduler", "worker")
        for pod in pods(kubectl, component, cluster)
    }


def workers_become(kubectl: Kubectl, count: int, cluster: str = "demo") -> None:
    eventually(
        f"{count} workers of {cluster}",
        lambda: len(pods(kubectl, cluster=cluster)) == count,
        timeout=PATIENCE_S,
    )
