"""How a plan is carried out: its parts in order, each to its end or to what the API server refuses."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dask_gitops import status as words
from dask_gitops.metrics import Metrics
from dask_gitops.plan.actions import (
    Action,
    Apply,
    Create,
    Delete,
    Emit,
    Part,
    Patch,
    Plan,
    Retire,
    TryOut,
    Undrain,
)
from dask_gitops.plan.drain import RETRY_HELD_S
from dask_gitops.reconcile.ask import Asker
from dask_gitops.reconcile.memory import Memory
from dask_gitops.reconcile.refusals import SOONEST_S, Failed, Outcomes, told_as
from dask_gitops.reconcile.report import Reporter
from dask_gitops.reconcile.standing import Standing
from dask_gitops.reconcile.stores import Key, Stores, key_of
from dask_gitops.reconcile.writes import Writer, do_all
from dask_gitops.resources import labels
from dask_gitops.resources.observed import CustomResource, Meta, Pod
from dask_gitops.scheduler.client import SchedulerUnavailable


@dataclass(slots=True)
class Executor:
    """:ivar again: asks for another reconcile of a key after so many seconds.
    :ivar clock: wall clock, seconds since the epoch.
    """

    ask: Asker
    stores: Stores
    memory: Memory
    write: Writer
    report: Reporter
    standing: Standing
    metrics: Metrics
    again: Callable[[Key, float], None]
    clock: Callable[[], float]

    async def carry_out(
        self,
        key: Key,
        plan: Plan,
        subject: CustomResource,
        scheduler: Pod | None = None,
        out: Outcomes | None = None,
    ) -> Outcomes:
        """Do each part in order, one part after the other.

        What the API server refuses ends its own part, which then rests: until its time, until a person changes what it
        was decided by, or, for a quota, until a pod has gone. Other errors end their part, too; then the turn is to
        fail at its end (:meth:`rest`). Only where nobody answers, all ends at once.

        :param key: whose turn this is.
        :param subject: the custom resource that Events are about.
        :param out: what came of an earlier plan of the same turn, to be added to.
        :raises KubeError: no answer came, or the Lease is not ours.
        """
        out, now = Outcomes() if out is None else out, self.clock()
        out.look_again(plan.again)
        resting = self.standing.still_refused(key, subject, now, out)
        todo = (a for part in plan.parts if part.name not in resting for a in part.actions)
        if any(map(_needs_news, todo)) and not await self._still_wanted(subject):
            out.late = True  # the next round begins from what was learnt
        for part in plan.parts:
            if part.name in resting or out.late or out.undone.intersection(part.after):
                out.undone.add(part.name)
            else:
                await self._carry_out_part(key, part, subject, scheduler, out)
        if out.held and not out.draining:  # a worker that cannot leave is not asked every second
            out.again = RETRY_HELD_S
        return out

    def rest(self, key: Key, done: Outcomes, *seconds: float | None) -> None:
        """The end of a turn: when the next one is due, with what else asks for one.

        :raises ApiError: what failed without being a refusal: the queue repeats the turn in its own time.
        """
        for some in seconds:
            done.look_again(some)
        # Its own report wakes nobody, nor does news of a cluster the pods of a group that was removed.
        if done.late:
            done.look_again(0)
        if done.again is not None:
            # Whoever asks for another look at once does not know of the refusal.
            self.again(key, max(done.again, SOONEST_S) if done.problems else done.again)
        if done.failures:
            raise max(done.failures, key=lambda error: error.retry_after or 0.0)

    async def _carry_out_part(
        self,
        key: Key,
        part: Part,
        subject: CustomResource,
        scheduler: Pod | None,
        out: Outcomes,
    ) -> None:
        try:
            for _, group in itertools.groupby(part.actions, type):
                await self._carry_out(list(group), subject, scheduler, out)
        except Failed as failed:
            out.undone.add(part.name)
            self.standing.refuse(key, part, subject, failed, out)
        else:
            self.standing.accepted(key, part, subject)
            out.refused.pop(part.name, None)
            out.look_again(part.again)

    async def _carry_out(
        self,
        some: Sequence[Action],  # all of one type
        subject: CustomResource,
        scheduler: Pod | None,
        out: Outcomes,
    ) -> None:
        writes: dict[type, Callable[[Any], Awaitable[None]]] = {
            Delete: self.write.delete,
            Patch: self.write.patch,
            Apply: self.write.apply,
        }
        if (write := writes.get(type(some[0]))) is not None:
            # A thousand one after the other would take minutes; the client limits how many are on their way.
            await do_all(map(write, some))
            return
        for action in some:
            if isinstance(action, Create):
                await self.write.create(action)
            elif isinstance(action, TryOut):
                await self._try_out(action, subject)
            elif isinstance(action, Emit):
                await self.report.emit(action, subject)
            elif scheduler is not None:
                try:
                    if isinstance(action, Retire):
                        await self._retire(action, subject, scheduler, out)
                    elif isinstance(action, Undrain):
                        await self._undrain(action, scheduler)
                except SchedulerUnavailable as error:
                    out.held.append(f"the scheduler {error.reason}")

    async def _still_wanted(self, subject: CustomResource) -> bool:
        """Ask the API server itself: a watch may be late, and what is being deleted or was changed is another plan."""
        namespace = subject.meta.namespace
        wanted = {(subject.kind, subject.meta.name): subject.meta}
        cluster = self.stores.clusters.get(namespace, str(subject.spec.get("cluster", "")))
        if subject.kind == "DaskWorkerGroup" and cluster is not None:
            wanted[cluster.kind, cluster.meta.name] = cluster.meta

        async def is_so(kind: str, name: str, seen: Meta) -> bool:
            await self.write.refresh(kind, namespace, name, seen.uid)
            found = self.stores.of(kind).get(namespace, name)
            if found is None or found.meta.deleting is not None:
                return False
            return (found.meta.uid, found.meta.generation) == (seen.uid, seen.generation)

        if not all(await do_all(is_so(*thing, seen) for thing, seen in wanted.items())):
            return False
        # A job's status remembers that it has ended: it must not run once more because a watch is late.
        now = self.stores.of(subject.kind).get(namespace, subject.meta.name)
        return subject.kind != "DaskJob" or (now is not None and now.status == subject.status)

    async def _try_out(self, action: TryOut, subject: CustomResource) -> None:
        """A quota and the name of the object that is to be replaced are in the way now, and will not be then."""
        key, word = key_of(subject), (subject.meta.uid, action.word)
        if self.memory.tried.get(key) == word and not action.again:
            return
        name = action.manifest["metadata"]["name"]
        try:
            with told_as(f"create {action.kind} {name}"):
                await self.write.try_out(action.kind, action.manifest)
        except Failed as failed:
            if not (failed.error.is_already_exists or failed.error.is_forbidden_quota):
                raise
        self.memory.tried[key] = word

    async def _retire(
        self, action: Retire, subject: CustomResource, scheduler: Pod, out: Outcomes
    ) -> None:
        """Ask, then delete the pods whose workers are all retired."""
        outcomes = await self.ask.retire(scheduler, action)
        for outcome in outcomes.values():
            if outcome.state != "draining":
                self.metrics.retired.labels(outcome.state).inc()
            out.draining |= outcome.state != "refused"
        workers = {
            pod.meta.uid: [outcomes[i] for i in ids]
            for pod, ids in zip(action.pods, action.ids_by_pod, strict=True)
        }
        retired = [p for p in action.pods if all(o.state == "retired" for o in workers[p.meta.uid])]
        if retired:  # told first: once a Pod is gone, nobody knows what went with it
            lost = [
                f"{pod.meta.name} {o.message}"
                for pod in retired
                for o in workers[pod.meta.uid]
                if o.lost
            ]
            end = "; ".join(lost) or "nothing was lost"
            reason = "ResultsDiscarded" if lost else "ScaledDown"
            await self.report.emit(
                Emit(
                    reason,
                    f"retired {words.listed(p.meta.name for p in retired)}; {end}",
                    warning=bool(lost),
                ),
                subject,
            )
        await do_all(self.write.delete(Delete("Pod", pod.meta)) for pod in retired)
        out.held += [
            f"{pod.meta.name}: {o.message}"
            for pod in action.pods
            for o in workers[pod.meta.uid]
            if o.state == "refused"
        ]

    async def _undrain(self, action: Undrain, scheduler: Pod) -> None:
        await self.ask.undrain(scheduler, action)
        body = {"metadata": {"annotations": {labels.RETIRING: None}}}
        await do_all(self.write.patch(Patch("Pod", pod.meta, body)) for pod in action.pods)


def _needs_news(action: Action) -> bool:
    """Would this do harm if it were decided by an earlier spec?"""
    if isinstance(action, Patch):
        notes = (action.body.get("metadata") or {}).get("annotations") or {}
        hands_on = "spec" in action.body and action.subresource is None  # acted upon at once
        decides = notes.keys() & {labels.PARKED, labels.INLINE_AUTOSCALER}
        return hands_on or bool(decides) or bool(notes.get(labels.RETIRING))
    if isinstance(action, Retire):
        return action.interrupt or action.discard
    return isinstance(action, Create | Delete | Apply)
