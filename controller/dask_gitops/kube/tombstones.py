"""What was deleted, for as long as a late list or watch might bring it back."""

from __future__ import annotations

TOMBSTONES = 20_000
TOMBSTONE_S = 600.0


class Tombstones:
    """uid -> the last version that the object can have had.

    Kept for ``TOMBSTONE_S`` seconds at least, and forgotten with the first that comes after twice that; of more than
    ``TOMBSTONES`` the older ones go before. There are two halves, and forgetting drops one of them whole: a dict that is emptied key by key keeps the
    size of its busiest hour, and finds its first key ever more slowly.
    """

    def __init__(self) -> None:
        self._young: dict[str, float] = {}
        self._old: dict[str, float] = {}
        self._turned = 0.0

    @property
    def size(self) -> int:
        """How many are remembered."""
        return len(self._young) + len(self._old)

    def get(self, uid: str) -> float | None:
        """The last version (infinite: it is gone for good), or None."""
        return self._young.get(uid, self._old.get(uid))

    def put(self, uid: str, version: float, now: float) -> None:
        """It did not exist any more at ``version``; ``now`` in seconds."""
        if now >= self._turned + TOMBSTONE_S or len(self._young) >= TOMBSTONES // 2:
            all_had_their_time = now >= self._turned + 2 * TOMBSTONE_S
            self._old, self._young = {} if all_had_their_time else self._young, {}
            self._turned = now
        known = self.discard(uid)
        self._young[uid] = version if known is None else max(version, known)

    def discard(self, uid: str) -> float | None:
        """Forget it; returns what `get` would have."""
        young, old = self._young.pop(uid, None), self._old.pop(uid, None)
        return old if young is None else young

    def clear(self) -> None:
        """Forget all."""
        self._young, self._old = {}, {}
