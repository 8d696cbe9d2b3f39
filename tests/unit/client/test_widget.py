"""The widget of a cluster, with the real ipywidgets."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
from dask_gitops.client.snapshot import Group, Snapshot
from dask_gitops.client.widget import ClusterWidget, widget

DEMO = Snapshot("demo", "ns", "ready", "good", (Group("default", 3, 2, owner="<Argo CD>"),))


class User:
    """Somebody in front of a widget, and the cluster behind it."""

    def __init__(self, snapshot: Snapshot = DEMO) -> None:
        self.snapshot = snapshot
        self.asked: list[tuple[Any, ...]] = []
        self.answer: Any = None
        found = widget(lambda: self.snapshot, self.scale, self.adapt)
        assert found is not None
        self.it: ClusterWidget = found

    def scale(self, number: int, group: str) -> Any:
        return self._asked("scale", number, group)

    def adapt(self, minimum: int, maximum: int, group: str) -> Any:
        return self._asked("adapt", minimum, maximum, group)

    def _asked(self, *words: Any) -> Any:
        self.asked.append(words)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def sees(self, *groups: Group) -> None:
        self.snapshot = replace(self.snapshot, groups=groups)
        self.it.update()


def test_a_click_changes_nothing_that_nobody_wrote() -> None:
    user = User()
    user.it.scale_button.click()
    user.it.adapt_button.click()
    assert user.asked == [("scale", 3, "default"), ("adapt", 3, 3, "default")]
    user = User(replace(DEMO, groups=(Group("default", None, 4, (1, 9)),)))
    user.it.scale_button.click()
    user.it.adapt_button.click()
    assert user.asked == [("scale", 4, "default"), ("adapt", 1, 9, "default")]


def test_fields_follow_until_somebody_types() -> None:
    user = User()
    user.sees(Group("default", 5, 5))
    assert user.it.request.value == 5
    user.it.request.value = 7
    user.sees(Group("default", 6, 6))
    assert user.it.request.value == 7
    user.it.scale_button.click()
    assert user.asked == [("scale", 7, "default")]
    user.sees(Group("default", 7, 6))
    user.sees(Group("default", 2, 2))  # somebody else's wish
    assert user.it.request.value == 2


def test_each_group_has_its_numbers() -> None:
    user = User(replace(DEMO, groups=(Group("default", 3, 3), Group("gpu", 1, 0, (1, 4)))))
    assert user.it.group.layout.display is None
    user.it.group.value = "gpu"
    assert user.it.request.value == 1
    user.it.scale_button.click()
    user.it.adapt_button.click()
    assert user.asked == [("scale", 1, "gpu"), ("adapt", 1, 4, "gpu")]
    user.it.request.value = 8
    user.sees(Group("default", 3, 3), Group("gpu", 1, 0), Group("new", 0, 0))
    assert (user.it.group.value, user.it.request.value) == ("gpu", 8)
    user.sees(Group("default", 3, 3))
    assert user.it.group.value == "default"
    assert user.it.request.value == 3
    assert user.it.group.layout.display == "none"


def test_without_a_group_there_is_nothing_to_click() -> None:
    user = User(replace(DEMO, groups=()))
    assert user.it.scale_button.disabled
    user.it.scale_button.click()
    assert user.asked == []
    user.sees(Group("default", 2, 0))
    assert not user.it.scale_button.disabled
    user.it.scale_button.click()
    assert user.asked == [("scale", 2, "default")]


def test_who_else_sets_the_number_is_shown() -> None:
    user = User()
    assert "Also set by &lt;Argo CD&gt;" in user.it.owner.value
    user.sees(Group("default", 3, 2))
    assert user.it.owner.value == ""


def test_an_error_of_a_button_is_shown() -> None:
    user = User()
    user.answer = ValueError("<b>minimum 5 is more than maximum 2")
    user.it.adapt_button.click()
    assert "&lt;b&gt;minimum 5 is more than maximum 2" in user.it.error.value
    user.answer = None
    user.it.scale_button.click()
    assert user.it.error.value == ""


def test_an_error_that_comes_later_is_shown() -> None:
    user = User()
    later: Future[None] = Future()
    user.answer = later
    user.it.scale_button.click()
    assert user.it.error.value == ""
    later.set_exception(PermissionError("not allowed"))
    assert "not allowed" in user.it.error.value

    async def main() -> None:
        user.answer = asyncio.get_running_loop().create_future()
        user.it.scale_button.click()
        user.answer.set_exception(PermissionError("not now"))
        await asyncio.sleep(0)

    asyncio.run(main())
    assert "not now" in user.it.error.value
    cancelled: Future[None] = Future()
    user.answer = cancelled
    user.it.scale_button.click()
    cancelled.cancel()
    assert user.it.error.value == ""


def test_the_state_is_in_it() -> None:
    user = User()
    assert "ready" in user.it.status.value
    user.snapshot = replace(DEMO, state="being deleted")
    user.it.update()
    assert "being deleted" in user.it.status.value
    assert user.it.widget.children[0] is user.it.status


def test_without_ipywidgets_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert widget(lambda: DEMO, lambda *_: None, lambda *_: None) is None
