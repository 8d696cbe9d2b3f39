"""The objects on which health checks and actions are tried are what the controller writes today."""

from __future__ import annotations

from tests.support.argocd_objects import FOLDER, written


def test_they_are_current() -> None:
    """After a wanted change: python -m tests.support.argocd_objects"""
    found = dict(written())
    assert {path: path.read_text(encoding="utf-8") for path in found} == found
    assert set(found) == set(FOLDER.rglob("testdata/*.yaml"))
