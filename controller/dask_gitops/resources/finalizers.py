"""Finalizers: we set none, and take off those that an operator built on kopf left behind."""

from __future__ import annotations

from collections.abc import Sequence

_KOPF = frozenset(
    f"{domain}KopfFinalizerMarker" for domain in ("", "kopf.dev/", "kopf.zalando.org/")
)


def without_kopf(finalizers: Sequence[str]) -> tuple[str, ...]:
    """The finalizers that whoever set them must take off, in their order."""
    return tuple(f for f in finalizers if f not in _KOPF)
