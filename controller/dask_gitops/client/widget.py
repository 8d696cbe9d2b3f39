"""The widget of a cluster in a notebook that has ipywidgets.

KubeCluster's ``_widget`` calls `widget` once, and `ClusterWidget.update` about twice a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dask_gitops.client import html
from dask_gitops.client.snapshot import Group, Snapshot
from dask_gitops.text import printable

#: (number, group): as ``KubeCluster.scale``; what it returns need not be awaited.
Scale = Callable[[int, str], Any]
#: (minimum, maximum, group).
Adapt = Callable[[int, int, str], Any]


class _Number:
    """A field that follows the present number until somebody types another one."""

    def __init__(self, field: Any) -> None:
        self.field = field
        self._followed = field.value

    def follow(self, number: int) -> None:
        if self.field.value == self._followed:
            self.field.value = number
        self._followed = number

    def let_go(self, number: int) -> None:
        """What was typed was acted on, or belonged to another group."""
        self.field.value = self._followed = number


class ClusterWidget:
    """State, and buttons to scale and adapt each group.

    :ivar widget: what a notebook shows.
    """

    def __init__(self, look: Callable[[], Snapshot], scale: Scale, adapt: Adapt) -> None:
        import ipywidgets as w

        self._look = look
        self._scale, self._adapt = scale, adapt
        layout = w.Layout(width="160px")
        snapshot = look()
        self.status = w.HTML(html.cluster(snapshot))
        self.owner = w.HTML()
        self.error = w.HTML()
        self.group = w.Dropdown(options=[], description="Group")
        # A number typed and a click: never a zero that nobody wrote.
        self.request = w.IntText(
            _wanted(_find(snapshot, None)), description="Workers", layout=layout
        )
        self.minimum = w.IntText(description="Minimum", layout=layout)
        self.maximum = w.IntText(description="Maximum", layout=layout)
        self.scale_button = w.Button(description="Scale", layout=layout)
        self.adapt_button = w.Button(description="Adapt", layout=layout)
        self.scale_button.on_click(lambda _: self._do_scale())
        self.adapt_button.on_click(lambda _: self._do_adapt())
        self._offering = False
        self.group.observe(lambda _: self._chosen(), names="value")
        scaling = w.Accordion(
            [
                w.HBox([self.request, self.scale_button]),
                w.HBox([self.minimum, self.maximum, self.adapt_button]),
            ],
            layout=w.Layout(min_width="500px"),
        )
        scaling.selected_index = None
        scaling.set_title(0, "Manual Scaling")
        scaling.set_title(1, "Adaptive Scaling")
        self._numbers = [_Number(f) for f in (self.request, self.minimum, self.maximum)]
        self.widget = w.Tab()
        self.widget.children = [
            self.status,
            w.VBox([self.group, self.owner, scaling, self.error]),
        ]
        self.widget.set_title(0, "Status")
        self.widget.set_title(1, "Scaling")
        self._fill(follow=False)

    def update(self) -> None:
        """Show the present; what somebody is typing stays."""
        self._fill(follow=True)

    def _chosen(self) -> None:
        if not self._offering:
            self._fill(follow=False)

    def _fill(self, *, follow: bool) -> None:
        snapshot = self._look()
        self.status.value = html.cluster(snapshot)
        names = tuple(group.name for group in snapshot.groups)
        if tuple(self.group.options) != names:
            follow = self._offer(names) and follow
        self.group.layout.display = None if len(names) > 1 else "none"
        chosen = _find(snapshot, self.group.value)
        low, high = chosen.bounds if chosen and chosen.bounds else (_wanted(chosen),) * 2
        for number, present in zip(self._numbers, (_wanted(chosen), low, high), strict=True):
            if follow:
                number.follow(present)
            else:
                number.let_go(present)
        owner = chosen.owner if chosen else ""
        self.owner.value = html.note(f"Also set by {owner}") if owner else ""
        for button in (self.scale_button, self.adapt_button):
            button.disabled = chosen is None

    def _offer(self, names: tuple[str, ...]) -> bool:
        """Groups to choose from; whether the chosen one stays. ipywidgets forgets it, or chooses none."""
        before = self.group.value
        self._offering = True
        self.group.options = names
        self.group.value = before if before in names else next(iter(names), None)
        self._offering = False
        return bool(self.group.value == before)

    def _do_scale(self) -> None:
        self._act(lambda group: self._scale(self.request.value, group))

    def _do_adapt(self) -> None:
        self._act(lambda group: self._adapt(self.minimum.value, self.maximum.value, group))

    def _act(self, act: Callable[[str], Any]) -> None:
        group = self.group.value
        if group is None:
            return
        self.error.value = ""
        try:
            result = act(group)
        except Exception as error:
            self._failed(error)
            return
        # Of an asynchronous cluster: it acts by itself, and fails later.
        if hasattr(result, "add_done_callback"):
            result.add_done_callback(self._ended)
        self.update()

    def _ended(self, future: Any) -> None:
        if not future.cancelled() and future.exception() is not None:
            self._failed(future.exception())

    def _failed(self, error: BaseException) -> None:
        self.error.value = html.note(printable(str(error) or type(error).__name__, 2000), "bad")


def widget(look: Callable[[], Snapshot], scale: Scale, adapt: Adapt) -> ClusterWidget | None:
    """The widget; None where ipywidgets is not installed, and HTML has to do."""
    try:
        return ClusterWidget(look, scale, adapt)
    except ImportError:
        return None


def _find(snapshot: Snapshot, name: str | None) -> Group | None:
    return next((g for g in snapshot.groups if name is None or g.name == name), None)


def _wanted(group: Group | None) -> int:
    """What a click leaves as it is."""
    if group is None:
        return 0
    return group.ready if group.wanted is None else group.wanted
