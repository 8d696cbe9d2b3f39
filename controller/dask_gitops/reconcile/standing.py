"""What the API server said no to stands for a while: what is not tried again yet, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

from dask_gitops.plan.actions import Part
from dask_gitops.reconcile.memory import Memory
from dask_gitops.reconcile.refusals import (
    BACKOFF_S,
    LONGEST_BACKOFF_S,
    REFUSED_S,
    RETRY_S,
    Failed,
    Outcomes,
    Refusal,
    is_refusal,
    problem_of,
)
from dask_gitops.reconcile.stores import Key, Stores
from dask_gitops.resources import labels
from dask_gitops.resources.observed import CustomResource


@dataclass(frozen=True, slots=True)
class Standing:
    """:ivar clock: wall clock, seconds since the epoch."""

    stores: Stores
    memory: Memory
    clock: Callable[[], float]

    def still_refused(
        self, key: Key, subject: CustomResource, now: float, out: Outcomes
    ) -> set[str]:
        """Names of the parts that it is too early to try again; what is known of these and others is told."""
        known = self.memory.refused.get(key, {}).get(subject.meta.uid)
        if not known:
            return set()
        decided, pods, resting = self._decided(subject), self._counted(subject), set()
        for name, said in known.items():
            if said.decided != decided or (said.pods is not None and pods < said.pods):
                continue
            if said.rests(now):
                resting.add(name)
                out.look_again(said.rests(now))
            if said.news(now):
                out.refused[name] = said.problem
                out.look_again(said.news(now))
        return resting

    def _decided(self, subject: CustomResource) -> Hashable:
        """What a person says that the parts of this one's plans follow from."""
        cluster = self.stores.clusters.get(subject.meta.namespace, _cluster_name(subject))
        return tuple(
            (m.uid, m.generation, frozenset(m.labels.items()), frozenset(m.annotations.items()))
            for m in (r.meta for r in (subject, cluster) if r is not None)
        )

    def _counted(self, subject: CustomResource) -> int:
        """How many pods of this one's cluster a quota may count."""
        where = subject.meta.namespace, _cluster_name(subject)
        return sum(
            not pod.finished
            for component in (labels.SCHEDULER, labels.WORKER, labels.JOB_RUNNER)
            for pod in self.stores.pods.by_index("cluster", *where, component)
        )

    def refuse(
        self, key: Key, part: Part, subject: CustomResource, failed: Failed, out: Outcomes
    ) -> None:
        """Remember what was said to a part, and tell it."""
        now, error = self.clock(), failed.error
        known = self._going_on(key, now).setdefault(subject.meta.uid, {})
        before = known.get(part.name)
        problem = replace(problem_of(failed, now, before), declared=part.declared)
        pods = self._counted(subject) if error.is_forbidden_quota else None
        if pods is not None:
            self.memory.crowded[key] = _cluster_name(subject)
        times = 0
        if is_refusal(error):
            rest: float = REFUSED_S if problem.refused else RETRY_S
            out.look_again(rest)
        else:
            out.failures.append(error)
            times = 1 + (before.times if before is not None else 0)
            # A little less than the queue leaves between two turns that fail.
            rest = min(BACKOFF_S * 2.0 ** min(times - 1, 10), LONGEST_BACKOFF_S)
            rest = max(rest, error.retry_after or 0.0)
        said = Refusal(problem, now, rest, times, self._decided(subject), pods)
        known[part.name] = said
        out.refused.pop(part.name, None)
        if said.news(now):
            out.refused[part.name] = problem

    def accepted(self, key: Key, part: Part, subject: CustomResource) -> None:
        """It was carried out: what was said to it before is past."""
        known = self.memory.refused.get(key, {})
        known.get(subject.meta.uid, {}).pop(part.name, None)
        if key in self.memory.crowded and not any(
            said.pods is not None for parts in known.values() for said in parts.values()
        ):
            del self.memory.crowded[key]

    def _going_on(self, key: Key, now: float) -> dict[str, dict[str, Refusal]]:
        """What was said lately, by uid of the subject; the rest is forgotten."""
        lately = {
            uid: {part: said for part, said in known.items() if said.goes_on(now)}
            for uid, known in self.memory.refused.get(key, {}).items()
        }
        self.memory.refused[key] = {uid: known for uid, known in lately.items() if known}
        return self.memory.refused[key]


def _cluster_name(subject: CustomResource) -> str:
    """The cluster that something is about; a job's has the job's name."""
    if subject.kind in ("DaskCluster", "DaskJob"):
        return subject.meta.name
    return str(subject.spec.get("cluster", ""))
