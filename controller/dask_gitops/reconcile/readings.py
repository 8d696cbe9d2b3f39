"""What the specs of custom resources say, and what they said when they could be read last."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dask_gitops.model.declared import JSON, Reading, read
from dask_gitops.reconcile.stores import Key, key_of
from dask_gitops.resources.observed import CustomResource


@dataclass(slots=True)
class Readings:
    """Of every custom resource that was looked at, the spec as it was stored and as it was read.

    A report and a help, never a truth: a new process knows of earlier specs nothing, and then makes nothing of a place
    that cannot be read.
    """

    # -> (uid, generation, spec as it is stored, reading)
    _known: dict[Key, tuple[str, int, JSON, Reading]] = field(default_factory=dict)

    def of(self, resource: CustomResource) -> Reading:
        """The reading of its spec; of what this very method handed out, the one that it came from."""
        key, uid = key_of(resource), resource.meta.uid
        generation, spec = resource.meta.generation, resource.spec
        last: Reading | None = None
        if key in self._known and self._known[key][0] == uid:
            _, seen, stored, last = self._known[key]
            if spec is stored or spec is last.spec:
                return last
            # Equal is not enough for another generation: 1 == True.
            if seen == generation and spec == stored:
                same = last if last.wrong else replace(last, spec=spec)
                self._known[key] = (uid, generation, spec, same)
                return same
        reading = read(resource.kind, spec, last)
        self._known[key] = (uid, generation, spec, reading)
        return reading

    def what_counts(self, resource: CustomResource) -> CustomResource:
        """The same object, with what counts of its spec."""
        reading = self.of(resource)
        return resource if reading.spec is resource.spec else replace(resource, spec=reading.spec)

    def forget(self, key: Key) -> None:
        self._known.pop(key, None)
