"""``scale`` and ``delete``."""

from __future__ import annotations

import sys

import click

from dask_gitops.client import actions, snapshot
from dask_gitops.client.errors import ClusterNotFoundError, DaskGitopsError
from dask_gitops.client.session import CREATED_BY, Session
from dask_gitops.client.settings import configured
from dask_gitops.status import workers
from dask_gitops.text import printable

from . import screen, shell
from .options import Where
from .overview import JSON


class KeptError(DaskGitopsError):
    """A tool keeps the object as it is declared somewhere else."""


def scale(name: str, n: int, group: str, where: Where, output: str) -> None:
    """Set the number of workers of a group, as `KubeCluster.scale` does."""
    most = configured().get("maximum")
    done = shell.run(_scale(name, n if most is None else min(n, int(most)), group, where))
    if output == "json":
        screen.document(done)
        return
    cluster = f"{done['namespace']}/{done['name']}"
    before = "" if done["before"] in (None, done["workers"]) else f", it had {done['before']}"
    screen.say(f"{cluster}: group {group} is to have {workers(done['workers'])}{before}")
    if done["workers"] < n:
        screen.say(
            f"  no more than {done['workers']}: kubernetes.count.max of Dask's configuration"
        )
    for autoscaler in done["removedAutoscalers"]:
        screen.say(f"  its autoscaler {autoscaler} is gone")
    if owner := done["numberOwner"]:
        screen.say(f"  {owner} will set it back: change it there")


async def _scale(name: str, n: int, group: str, where: Where) -> JSON:
    async with shell.session(name, where) as session:
        await session.find()
        before = await _group(session, group)
        gone = await session.access.told(actions.scale(session, n, group))
        owner = "" if before is None else before.owner
        if gone and ", kept by " not in owner:  # the autoscaler was the owner
            after = await _group(session, group, without=gone)
            owner = "" if after is None else after.owner
        return {
            "namespace": session.namespace,
            "name": session.name,
            "group": group,
            "workers": n,
            "before": None if before is None else before.wanted,
            "removedAutoscalers": gone,
            "numberOwner": owner or None,
        }


async def _group(
    session: Session, group: str, without: list[str] | None = None
) -> snapshot.Group | None:
    groups, autoscalers = await session.live.beside()
    seen = snapshot.of(
        session.live.cluster,
        groups,
        [each for each in autoscalers if each["metadata"]["name"] not in (without or ())],
        name=session.name,
        namespace=session.namespace,
    )
    return next((each for each in seen.groups if each.name == group), None)


def delete(name: str, yes: bool, timeout_s: float, where: Where, output: str) -> None:
    """Delete a cluster, and wait until it is gone.

    :raises KeptError: a tool keeps it.
    """
    if not yes and not (has_person() and output == "text"):
        raise click.UsageError("nobody can be asked here whether it may go: give --yes")
    uid, question = shell.run(_look(name, where))
    if not yes:
        click.confirm(question, abort=True)
    done = shell.run(_delete(name, uid, timeout_s, where))
    if output == "json":
        screen.document(done)
    else:
        screen.say(f"cluster {done['namespace']}/{done['name']} is gone")


def has_person() -> bool:
    """Is there somebody who can answer?"""
    return sys.stdin.isatty()


async def _look(name: str, where: Where) -> tuple[str, str]:
    """The uid of a cluster that may be deleted, and what is asked before."""
    async with shell.session(name, where) as session:
        await session.find()
        place = f"{session.namespace}/{session.name}"
        if (tool := session.kept_by) is not None:
            raise KeptError(
                f"{tool} keeps cluster {place}: take it out there, or it comes back; "
                f"kubectl delete daskcluster {session.name} -n {session.namespace} deletes it all the same"
            )
        annotations = (session.live.cluster or {})["metadata"].get("annotations") or {}
        made = printable(annotations.get(CREATED_BY, ""), 60)
        running = workers(len(session.live.workers))
        return session.uid, f"Delete cluster {place} ({running}{made and f', created by {made}'})?"


async def _delete(name: str, uid: str, timeout_s: float, where: Where) -> JSON:
    async with shell.session(name, where) as session:
        await session.find()
        if session.uid != uid:
            raise ClusterNotFoundError(
                f"DaskCluster {session.namespace}/{session.name} was made anew meanwhile; ask again"
            )
        await session.close(delete=True, timeout_s=timeout_s)
        return {"namespace": session.namespace, "name": session.name, "deleted": True}
