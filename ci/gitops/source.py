"""Stands in for Flux's source-controller, which cannot be built from the module proxy.

It does that program's one job for the objects that the lab needs: GitRepository (a branch, tag or commit, as a
tar.gz), HelmRepository and HelmChart (a packaged chart), and reports them in the status as source-controller does.
No authentication, no signatures, no ignore rules, no submodules. What reads its artifacts, Flux's
kustomize-controller and helm-controller, is the real thing.
"""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JSON = dict[str, Any]
GROUP = "source.toolkit.fluxcd.io"
EVERY_S = 1.0


class Failure(Exception):
    """What goes into the status: a source that is not to be had."""


@dataclass(frozen=True)
class Artifact:
    """What a source holds at a revision."""

    revision: str
    content: bytes
    suffix: str


def run(*words: str | Path) -> bytes:
    """Output of a command; its complaint as a Failure."""
    done = subprocess.run(words, capture_output=True, timeout=60)
    if done.returncode:
        raise Failure(done.stderr.decode(errors="replace").strip()[-500:])
    return done.stdout


@dataclass
class Source:
    """:ivar root: the folder that the web server at ``url`` serves."""

    root: Path
    url: str

    def serve(self) -> None:
        """Look again and again."""
        while True:
            try:
                self.look()
            except (
                Failure,
                subprocess.SubprocessError,
            ) as failure:  # the API server is away, or slow: the next look may find it
                print(failure, flush=True)
            time.sleep(EVERY_S)

    def look(self) -> None:
        """Bring every source's status up to date."""
        kinds = ("gitrepositories", "helmrepositories", "helmcharts")
        wanted = ",".join(f"{kind}.{GROUP}" for kind in kinds)
        found: list[JSON] = json.loads(run("kubectl", "get", "-A", "-o", "json", wanted))["items"]
        for source in found:
            before = source.get("status") or {}
            try:
                status = self.status_of(source, found)
            except (Failure, OSError, subprocess.SubprocessError) as failure:
                status = {**before, "conditions": [ready(source, "False", str(failure))]}
            status["observedGeneration"] = source["metadata"]["generation"]
            asked = (source["metadata"].get("annotations") or {}).get(
                "reconcile.fluxcd.io/requestedAt"
            )
            if asked:
                status["lastHandledReconcileAt"] = asked
            if status != before:
                self.write(source, status)

    def write(self, source: JSON, status: JSON) -> None:
        """Patch the status; an object that is gone is no matter."""
        meta = source["metadata"]
        kind = f"{source['kind'].lower()}.{GROUP}"
        where = ("-n", meta["namespace"], kind, meta["name"], "--subresource=status")
        patch = json.dumps({"status": status})
        subprocess.run(
            ["kubectl", "patch", *where, "--type=merge", "-p", patch], stdout=subprocess.DEVNULL
        )

    def status_of(self, source: JSON, others: list[JSON]) -> JSON:
        """:raises Failure: in words, for the condition."""
        before = source.get("status") or {}
        if source["kind"] == "HelmRepository":
            return {**before, "conditions": [ready(source, "True", "the index is read per chart")]}
        have = (before.get("artifact") or {}).get("revision")
        revision, fetch = (git if source["kind"] == "GitRepository" else chart)(source, others)
        same = (
            have == revision
            and before.get("observedGeneration") == source["metadata"]["generation"]
        )
        artifact = before["artifact"] if same else self.store(source, fetch())
        message = f"stored artifact for revision '{artifact['revision']}'"
        return {**before, "artifact": artifact, "conditions": [ready(source, "True", message)]}

    def store(self, source: JSON, artifact: Artifact) -> JSON:
        """Put it where the web server finds it."""
        digest = hashlib.sha256(artifact.content).hexdigest()
        meta = source["metadata"]
        path = (
            f"{source['kind'].lower()}/{meta['namespace']}/{meta['name']}/{digest}{artifact.suffix}"
        )
        file = self.root / "artifacts" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(artifact.content)
        return {
            "path": path,
            "url": f"{self.url}/artifacts/{path}",
            "revision": artifact.revision,
            "digest": f"sha256:{digest}",
            "lastUpdateTime": now(),
            "size": len(artifact.content),
        }


Fetch = Callable[[], Artifact]


def git(source: JSON, _: list[JSON]) -> tuple[str, Fetch]:
    """The revision that a GitRepository means now, and how to get it."""
    url, ref = source["spec"]["url"], source["spec"].get("ref") or {"branch": "master"}
    name = ref.get("branch") or ref.get("tag")
    commit = ref.get("commit")
    if commit is None:
        listed = run("git", "ls-remote", url, f"refs/heads/{name}", f"refs/tags/{name}").split()
        if not listed:
            raise Failure(f"no branch or tag {name!r} at {url}")
        commit = listed[0].decode()
    revision = f"{name}@sha1:{commit}" if name else f"sha1:{commit}"
    return revision, lambda: Artifact(revision, archive(url, commit), ".tar.gz")


def archive(url: str, commit: str) -> bytes:
    """A commit as a tar.gz."""
    with scratch() as folder:
        run("git", "-C", folder, "init", "-q")
        run("git", "-C", folder, "fetch", "-q", url, "+refs/*:refs/remotes/x/*")
        return run("git", "-C", folder, "archive", "--format=tar.gz", commit)


def chart(source: JSON, others: list[JSON]) -> tuple[str, Fetch]:
    """The version that a HelmChart means now, and how to get it: out of a chart repository or a folder in git."""
    spec, namespace = source["spec"], source["metadata"]["namespace"]
    wanted = (spec["sourceRef"]["kind"], spec["sourceRef"]["name"], namespace)
    origin = next((o for o in others if identity(o) == wanted), None)
    if origin is None:
        raise Failure("there is no {} {} in namespace {}".format(*wanted))
    if wanted[0] == "GitRepository":
        revision, fetch = git(origin, others)
        have = ((source.get("status") or {}).get("artifact") or {}).get("revision", "")
        if have.endswith(short(revision)):
            return have, fetch
        made = packaged(fetch().content, spec["chart"], short(revision))
        return made.revision, lambda: made
    url = origin["spec"]["url"]
    with urllib.request.urlopen(f"{url}/index.yaml", timeout=10) as answer:
        index = hashlib.sha256(answer.read()).hexdigest()
    words = ("--repo", url, "--version", spec.get("version") or "*")
    version = newest(spec["chart"], words, index)
    return version, lambda: pulled(spec["chart"], words, version)


def short(revision: str) -> str:
    """A commit as part of a chart's version."""
    return f"+{revision.rpartition(':')[2][:12]}"


@functools.cache
def newest(name: str, words: tuple[str, ...], index: str) -> str:
    """The version that a constraint means, as long as the repository's index (its digest) stays the same."""
    return version_of(run("helm", "show", "chart", name, *words))


def version_of(chart_file: bytes) -> str:
    """The version in a Chart.yaml."""
    lines = chart_file.decode().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("version:"))


def pulled(name: str, words: tuple[str, ...], version: str) -> Artifact:
    """A chart of a chart repository."""
    with scratch() as folder:
        run("helm", "pull", name, *words, "-d", folder)
        (file,) = Path(folder).glob("*.tgz")
        return Artifact(version, file.read_bytes(), ".tgz")


def packaged(content: bytes, path: str, suffix: str) -> Artifact:
    """A chart in a folder of a commit. Its version says which commit, as with reconcileStrategy Revision."""
    with scratch() as folder:
        subprocess.run(["tar", "-xz", "-C", folder], input=content, check=True)
        where = Path(folder) / path
        version = version_of(run("helm", "show", "chart", where)) + suffix
        run("helm", "package", where, "--version", version, "-d", folder)
        (file,) = Path(folder).glob("*.tgz")
        return Artifact(version, file.read_bytes(), ".tgz")


def identity(source: JSON) -> tuple[str, str, str]:
    """Which object it is."""
    return source["kind"], source["metadata"]["name"], source["metadata"]["namespace"]


def ready(source: JSON, status: str, message: str) -> JSON:
    """The Ready condition; its time stays while it says the same."""
    before = (source.get("status") or {}).get("conditions") or [{}]
    made = {
        "type": "Ready",
        "status": status,
        "reason": "Succeeded" if status == "True" else "FetchFailed",
        "message": message or "no reason given",
        "observedGeneration": source["metadata"]["generation"],
    }
    same = {key: value for key, value in before[0].items() if key != "lastTransitionTime"} == made
    return {**made, "lastTransitionTime": before[0]["lastTransitionTime"] if same else now()}


def now() -> str:
    """This second, as Kubernetes writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for a moment."""
    return tempfile.TemporaryDirectory(prefix="source-")


if __name__ == "__main__":
    Source(Path(sys.argv[1]), sys.argv[2]).serve()
