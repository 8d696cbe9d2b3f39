"""Pure: the user's labels and annotations on what the controller creates, and how live objects follow them.

What the user wanted last is noted on the object: a key that is taken away goes from it too, what others put there
(``kubectl label pod``) stays, and a webhook that insists on another value is not fought.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from dask_gitops.resources import labels
from dask_gitops.resources.observed import CustomResource, Meta
from dask_gitops.resources.revision import revision

JSON = dict[str, Any]
_FIELDS = ("labels", "annotations")


def users_metadata(
    handed: Iterable[CustomResource], declared: JSON | None, reserved: tuple[str, ...] = ()
) -> JSON:
    """``{"labels": {...}, "annotations": {...}}`` that the user wants on an object.

    :param handed: custom resources whose own labels and annotations are handed on, weakest first.
    :param declared: the metadata that the user declares for just this object; stronger than those handed on.
    """
    found: JSON = {field: {} for field in _FIELDS}
    for resource in handed:
        found["labels"].update(labels.handed_on(resource.meta.labels, reserved))
        found["annotations"].update(labels.handed_on(resource.meta.annotations, reserved))
    for field in _FIELDS:
        own = (declared or {}).get(field) or {}
        found[field].update({k: v for k, v in own.items() if not labels.is_ours(k)})
    return found


def with_note(users: JSON) -> JSON:
    """The same with a note of which keys and values they are; nothing is noted where the user wants nothing."""
    keys: JSON = {field: sorted(users[field]) for field in _FIELDS if users[field]}
    if not keys:
        return users
    note = json.dumps({**keys, "of": revision(users)}, sort_keys=True, separators=(",", ":"))
    return {**users, "annotations": {**users["annotations"], labels.HANDED_ON: note}}


def metadata_patch(want: JSON, meta: Meta) -> JSON:
    """JSON merge patch of ``metadata`` that brings a live object to what is wanted now; ``{}`` if it is there.

    The user's keys are set when the user's wish changed or they are missing, ours whenever they differ.

    :param want: ``{"labels": ..., "annotations": ...}`` with the note of :func:`with_note`.
    """
    note, noted = (m.get(labels.HANDED_ON) for m in (want["annotations"], meta.annotations))
    users, gone = _keys(note), _keys(noted)
    patch: JSON = {}
    for field, have in (("labels", meta.labels), ("annotations", meta.annotations)):
        wanted = want[field]
        if note == noted:
            wanted = {k: v for k, v in wanted.items() if not (k in have and k in users[field])}
        changes: JSON = {k: v for k, v in wanted.items() if have.get(k) != v}
        changes |= {k: None for k in sorted(gone[field] - users[field]) if k in have}
        if field == "annotations" and noted and not note:
            changes[labels.HANDED_ON] = None
        if changes:
            patch[field] = changes
    return patch


def _keys(note: str | None) -> dict[str, set[str]]:
    try:
        noted = json.loads(note or "{}")
        return {f: {k for k in noted.get(f, ()) if not labels.is_ours(k)} for f in _FIELDS}
    except (ValueError, TypeError, AttributeError):
        return {f: set() for f in _FIELDS}  # not written by us
