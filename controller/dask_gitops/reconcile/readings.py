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

    _known: dict[str, tuple[JSON, Reading]] = field(default_factory=dict)

    def of(self, resource: CustomResource) -> Reading:
        """The reading of its spec; of what this very method handed out, the one that it came from."""
        known = self._known.get(resource.meta.uid)
        if known is not None:
            stored, reading = known
            if resource.spec is stored or resource.spec is reading.spec or resource.spec == stored:
                return reading
        reading = read(resource.kind, resource.spec, known[1] if known is not None else None)
        self._known[resource.meta.uid] = (resource.spec, reading)
        return reading

    def what_counts(self, resource: CustomResource) -> CustomResource:
        """The same object, with what counts of its spec."""
        reading = self.of(resource)
        return resource if reading.spec is resource.spec else replace(resource, spec=reading.spec)

    def keep(self, uids: Collection[str]) -> None:
        """Forget all others."""
        self._known = {uid: known for uid, known in self._known.items() if uid in uids}

    def __len__(self) -> int:
        return len(self._known)
