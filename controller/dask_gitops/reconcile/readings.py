"""What the specs of custom resources say, and what they said when they could be read last."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from dask_gitops.model.declared import JSON, Reading, read
from dask_gitops.resources.observed import CustomResource


@dataclass(slots=True)
class Readings:
    """Of every custom resource that was looked at, the spec as it was stored and as it was read, by uid.

    A report and a help, never a truth: a new process knows of earlier specs nothing, and then makes nothing of a place
    that cannot be read.
    """

    # uid -> (generation, spec as it is stored, reading)
    _known: dict[str, tuple[int, JSON, Reading]] = field(default_factory=dict)

    def of(self, resource: CustomResource) -> Reading:
        """The reading of its spec; of what this very method handed out, the one that it came from."""
        uid, generation, spec = resource.meta.uid, resource.meta.generation, resource.spec
        last: Reading | None = None
        if uid in self._known:
            seen, stored, last = self._known[uid]
            if spec is stored or spec is last.spec:
                return last
            # Equal is not enough for another generation: 1 == True.
            if seen == generation and spec == stored:
                same = last if last.wrong else replace(last, spec=spec)
                self._known[uid] = (generation, spec, same)
                return same
        reading = read(resource.kind, spec, last)
        self._known[uid] = (generation, spec, reading)
        return reading

    def what_counts(self, resource: CustomResource) -> CustomResource:
        """The same object, with what counts of its spec."""
        reading = self.of(resource)
        return resource if reading.spec is resource.spec else replace(resource, spec=reading.spec)

    def keep(self, uids: Collection[str]) -> None:
        """Forget all others."""
        self._known = {uid: known for uid, known in self._known.items() if uid in uids}

    @property
    def count(self) -> int:
        """Of how many objects something is known."""
        return len(self._known)
