"""``KubeCluster.adapt``: bounds between which the controller chooses."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

from dask_gitops.client import actions, arguments

JSON = dict[str, Any]
#: As the controller has it, where nobody says.
INTERVAL_S = 5


class Adapting:
    """:ivar minimum, maximum: bounds of the number of workers."""

    def __init__(
        self, minimum: int, maximum: int, worker_group: str, limits: JSON, ask: Callable[..., Any]
    ) -> None:
        self.minimum = minimum
        self.maximum = maximum
        self._group = worker_group
        self._limits = limits
        self._ask = ask
        self._begun: Any = None

    @classmethod
    def of(
        cls,
        minimum: Any,
        maximum: Any,
        worker_group: str,
        interval: Any,
        wait_count: Any,
        adaptive: Any,
        unknown: Mapping[str, Any],
        ask: Callable[..., Any],
    ) -> Adapting:
        """
        :raises TypeError, ValueError: bounds cannot be those.
        """
        if adaptive is not None:
            raise TypeError(
                "adaptive scaling runs in the controller: a class of your own cannot be used; "
                "minimum, maximum, interval and wait_count can"
            )
        arguments.unknown(
            "adapt", unknown, ["minimum", "maximum", "worker_group", "interval", "wait_count"]
        )
        if maximum is None:
            raise ValueError(
                "adapt needs maximum=: the most workers that may be paid for; or set "
                "kubernetes.count.max"
            )
        low = 0 if minimum is None else arguments.count("minimum", minimum)
        high = arguments.count("maximum", maximum)
        if low > high:
            raise ValueError(f"minimum {low} is more than maximum {high}")
        seconds = (
            None if interval is None else max(1, round(arguments.seconds("interval", interval)))
        )
        down = None
        if wait_count is not None:
            looks = arguments.count("wait_count", wait_count)
            down = {"stabilizationSeconds": looks * (seconds or INTERVAL_S)}
        limits = {"minimum": low, "maximum": high, "interval": seconds, "scaleDown": down}
        return cls(low, high, worker_group, limits, ask)

    def begin(self) -> None:
        """Say so to the controller."""
        limits = {key: value for key, value in self._limits.items() if value is not None}
        self._begun = self._ask(lambda session: actions.adapt(session, self._group, limits))

    def stop(self) -> Any:
        """The number of workers stays as it is."""
        return self._ask(lambda session: actions.stop_adapting(session, self._group))

    def __await__(self) -> Generator[Any, None, Adapting]:
        async def begun() -> Adapting:
            if self._begun is not None:
                await self._begun
            return self

        return begun().__await__()

    def __repr__(self) -> str:
        return f"<Adapting {self._group}: {self.minimum} to {self.maximum} workers>"
