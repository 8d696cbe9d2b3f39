"""The user's labels and annotations on live objects: set, changed, taken away; what others put there stays."""

from __future__ import annotations

from typing import Any

from dask_gitops.resources.metadata import metadata_patch, users_metadata, with_note
from dask_gitops.resources.observed import Meta

from tests.unit.objects import cluster

JSON = dict[str, Any]


def wish(labels: JSON | None = None, annotations: JSON | None = None) -> JSON:
    return with_note({"labels": labels or {}, "annotations": annotations or {}})


def live(metadata: JSON, **others: JSON) -> Meta:
    return Meta.of(
        {
            "metadata": {
                "name": "x",
                "uid": "u",
                "labels": {**metadata["labels"], **others.get("labels", {})},
                "annotations": {**metadata["annotations"], **others.get("annotations", {})},
            }
        }
    )


def applied(meta: Meta, patch: JSON) -> Meta:
    """The object after the merge patch."""
    found: JSON = {}
    for field, have in (("labels", meta.labels), ("annotations", meta.annotations)):
        new = {**have, **patch.get(field, {})}
        found[field] = {k: v for k, v in new.items() if v is not None}
    return live(found)


def test_nothing_wanted_nothing_noted() -> None:
    assert wish() == {"labels": {}, "annotations": {}}
    assert metadata_patch(wish(), live(wish(), labels={"other": "1"})) == {}


def test_a_wish_is_carried_out_once() -> None:
    want = wish({"team": "a"}, {"note": "n"})
    patch = metadata_patch(want, live(wish()))
    assert patch["labels"] == {"team": "a"}
    assert patch["annotations"]["note"] == "n"
    assert metadata_patch(want, applied(live(wish()), patch)) == {}


def test_a_changed_value_a_new_key_and_one_taken_away() -> None:
    before = live(wish({"team": "a", "old": "1"}), labels={"theirs": "x"})
    want = wish({"team": "b", "new": "2"})
    patch = metadata_patch(want, before)
    assert patch["labels"] == {"team": "b", "new": "2", "old": None}
    after = applied(before, patch)
    assert after.labels == {"team": "b", "new": "2", "theirs": "x"}
    assert metadata_patch(want, after) == {}


def test_the_last_wish_taken_away_leaves_no_note() -> None:
    before = live(wish({"team": "a"}), annotations={"theirs": "x"})
    after = applied(before, metadata_patch(wish(), before))
    assert (after.labels, after.annotations) == ({}, {"theirs": "x"})


def test_a_webhooks_value_is_not_fought_but_a_missing_key_comes_back() -> None:
    want = wish({"team": "a", "cost": "1"})
    changed = live(want, labels={"team": "webhook"})
    assert metadata_patch(want, changed) == {}
    assert metadata_patch(want, applied(changed, {"labels": {"cost": None}})) == {
        "labels": {"cost": "1"}
    }


def test_a_note_that_is_none_of_ours_is_nothing() -> None:
    for note in ("no json", "[]", '{"labels": 3}', '{"labels": ["dask.org/component"]}'):
        meta = live(wish(), annotations={"dask.org/handed-on": note})
        assert metadata_patch(wish(), meta) == {"annotations": {"dask.org/handed-on": None}}


def test_our_own_keys_cannot_be_declared() -> None:
    declared = {
        "labels": {"dask.org/component": "scheduler", "a": "1"},
        "annotations": {"dask.org/retiring": "now", "ready.dask.org/x": "y", "b": "2"},
    }
    assert users_metadata([], declared) == {"labels": {"a": "1"}, "annotations": {"b": "2"}}


def test_reserved_keys_are_handed_on_from_nowhere_but_may_be_declared() -> None:
    of = cluster(labels={"helm.sh/chart": "c", "team": "a"})
    declared = {"labels": {"helm.sh/chart": "mine"}}
    assert users_metadata([of], None)["labels"] == {"team": "a"}
    assert users_metadata([of], declared)["labels"] == {"team": "a", "helm.sh/chart": "mine"}
