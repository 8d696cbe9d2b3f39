"""Pure: the one door to a Pod spec that a user wrote: its containers, variables, ports, resources, mounts.

:func:`wrong_pod_spec` says whether it can be read at all; :class:`PodSpec` reads it.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dask_gitops.model.shape import (
    Shape,
    WrongShape,
    flag,
    list_of,
    map_of,
    quantity,
    record,
    text,
    whole,
)

JSON = dict[str, Any]

_SHELL = re.compile(r"(?:.*/)?(?:sh|bash|dash|ash|ksh|zsh)")
_TEXT_OF_SHELL = re.compile(r"-[a-z]*c")
_PYTHON = re.compile(r"(?:.*/)?python[0-9.]*")

RUNNERS = ("job", "runner")  # what the container of a job's program is called, the first one first

_PROBE = record()
_RESOURCES = record(limits=map_of(quantity), requests=map_of(quantity))
_CONTAINER = record(
    name=text,
    image=text,
    command=list_of(text, nulls=True),
    args=list_of(text, nulls=True),
    env=list_of(record("name", name=text, value=text, valueFrom=record())),
    envFrom=list_of(record()),
    ports=list_of(record(name=text, containerPort=whole(), hostPort=whole(), protocol=text)),
    resources=_RESOURCES,
    volumeMounts=list_of(record(name=text, mountPath=text)),
    securityContext=record(readOnlyRootFilesystem=flag),
    startupProbe=_PROBE,
    readinessProbe=_PROBE,
    livenessProbe=_PROBE,
    lifecycle=record(),
)
_TERMS = list_of(record(matchFields=list_of(record()), matchExpressions=list_of(record())))
_POD_SPEC = record(
    containers=list_of(_CONTAINER),
    initContainers=list_of(_CONTAINER),
    tolerations=list_of(
        record(key=text, operator=text, value=text, effect=text, tolerationSeconds=whole())
    ),
    volumes=list_of(record(name=text)),
    schedulingGates=list_of(record(name=text)),
    imagePullSecrets=list_of(record(name=text)),
    nodeSelector=map_of(text),
    nodeName=text,
    hostNetwork=flag,
    enableServiceLinks=flag,
    restartPolicy=text,
    serviceAccountName=text,
    priorityClassName=text,
    runtimeClassName=text,
    terminationGracePeriodSeconds=whole(),
    activeDeadlineSeconds=whole(),
    resources=_RESOURCES,
    securityContext=record(),
    affinity=record(
        nodeAffinity=record(
            requiredDuringSchedulingIgnoredDuringExecution=record(nodeSelectorTerms=_TERMS)
        ),
        podAffinity=record(),
        podAntiAffinity=record(),
    ),
    topologySpreadConstraints=list_of(record()),
)


def wrong_pod_spec(declared: Any, path: str, *, component: str = "") -> WrongShape | None:
    """What keeps this Pod spec from being read; None: nothing, or there is none.

    :param component: its main container needs no name, as that is filled in.
    """
    if declared is None:
        return None
    if (wrong := _POD_SPEC(declared, path)) is not None:
        return wrong
    read = PodSpec.trusted(declared)
    main = read.main(component) if component else None
    for field, some in (("containers", read.containers), ("initContainers", read.init_containers)):
        for index, container in enumerate(some):
            if not container.name and container is not main:
                return WrongShape(f"{path}.{field}[{index}].name", "is missing")
    return None


def pod_spec_of(component: str) -> Shape:
    """The shape of what a user says about the Pods of a component."""
    return functools.partial(wrong_pod_spec, component=component)


@dataclass(frozen=True, slots=True)
class _Bounded:
    """What may say how much it needs: a container, or a Pod as a whole."""

    fields: JSON

    @property
    def limits(self) -> JSON:
        return self._amounts("limits")

    @property
    def requests(self) -> JSON:
        return self._amounts("requests")

    def _amounts(self, which: str) -> JSON:
        found = (self.fields.get("resources") or {}).get(which) or {}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Container(_Bounded):
    """One container, and what it says as Kubernetes understands it.

    :ivar fields: it as the user wrote it; null is as good as absent.
    """

    @property
    def name(self) -> str:
        return str(self.fields.get("name") or "")

    @property
    def image(self) -> str | None:
        return self.fields.get("image") or None

    @property
    def command(self) -> list[str]:
        return [word or "" for word in self.fields.get("command") or ()]

    @property
    def args(self) -> list[str]:
        return [word or "" for word in self.fields.get("args") or ()]

    @property
    def words(self) -> list[str]:
        """All words of command and args, those of shell texts one by one."""
        return [part for word in (*self.command, *self.args) for part in word.split()]

    @property
    def env(self) -> Mapping[str, str | None]:
        """Variables by name, the last of a name counts; None: the value comes from elsewhere."""
        return {
            e["name"]: None if e.get("valueFrom") else e.get("value") or ""
            for e in self.fields.get("env") or ()
        }

    @property
    def ports(self) -> Mapping[str, int]:
        """Numbers by name."""
        found = self.fields.get("ports") or ()
        return {p["name"]: p["containerPort"] for p in found if p.get("name") and p.get("containerPort")}  # fmt: skip

    @property
    def mounts(self) -> frozenset[str]:
        """Paths, without a slash at the end."""
        found = (m.get("mountPath") or "" for m in self.fields.get("volumeMounts") or ())
        return frozenset(path.rstrip("/") or path for path in found)

    @property
    def read_only(self) -> bool:
        """Is its root file system read-only?"""
        return bool((self.fields.get("securityContext") or {}).get("readOnlyRootFilesystem"))

    @property
    def probed(self) -> bool:
        """Does a readiness probe say whether it works?"""
        return bool(self.fields.get("readinessProbe"))


@dataclass(frozen=True, slots=True)
class PodSpec(_Bounded):
    """A Pod spec whose shape is right.

    :ivar fields: it as the user wrote it, fields that are null left out, without its containers.
    """

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()

    @classmethod
    def of(cls, declared: JSON | None, path: str = "spec") -> PodSpec:
        """A reading of a copy.

        :raises ValueError: its shape is wrong; whoever may have such a one asks :func:`wrong_pod_spec` before.
        """
        wrong = None if declared is None else _POD_SPEC(declared, path)
        if wrong is not None:
            raise ValueError(str(wrong))
        return cls.trusted(copy.deepcopy(declared or {}))

    @classmethod
    def trusted(cls, raw: JSON) -> PodSpec:
        """Of a Pod that the API server took: nothing is checked or copied."""
        apart = ("containers", "initContainers")
        return cls(
            {key: value for key, value in raw.items() if value is not None and key not in apart},
            tuple(Container(c) for c in raw.get("containers") or ()),
            tuple(Container(c) for c in raw.get("initContainers") or ()),
        )

    @property
    def host_network(self) -> bool:
        return bool(self.fields.get("hostNetwork"))

    @property
    def tolerations(self) -> list[JSON]:
        return list(self.fields.get("tolerations", ()))

    def main(self, component: str) -> Container | None:
        """The container that runs Dask: the one called like the component, else the first that starts one, else the first.

        :param component: ``scheduler`` or ``worker``.
        """
        return main_container(self.containers, component)

    def runner(self) -> Container | None:
        """The container of a job's program, called ``job`` (as the existing operator has it) or ``runner``; else the first."""
        by_name = {c.name: c for c in reversed(self.containers)}
        named = (by_name[name] for name in RUNNERS if name in by_name)
        return next(named, None) or (self.containers[0] if self.containers else None)


def main_container(containers: Sequence[Container], component: str) -> Container | None:
    """See :meth:`PodSpec.main`."""
    named = (c for c in containers if c.name == component)
    starting = (c for c in containers if starts(c, component))
    mentioning = (c for c in containers if _mentions(c, component))  # perhaps in a script's name
    first = containers[0] if containers else None
    return next(named, None) or next(starting, None) or next(mentioning, None) or first


def starts(container: Container, component: str) -> bool:
    """Is a scheduler, or a worker, for certain among what it runs?

    Only where a program stands: hosts, files and values of options are called like one, too. Where it says yes, the
    chart takes the container for Dask's own, as well.
    """
    words, behind = [*container.command, *container.args], len(container.command)
    one = re.compile(rf"(?:.*/)?dask-(?:cuda-)?{component}", re.DOTALL)
    module = re.compile(rf"(?:distributed|dask_cuda)\.cli\.dask_(?:cuda_)?{component}")
    text = re.compile(
        rf"(?:^|\n|;|&&|\s--[ \t])[ \t]*(?:exec[ \t]+)?(?:[^\s\"';|&]*/)?"
        rf"dask(?:-(?:cuda-)?|[ \t]+(?:cuda[ \t]+)?){component}(?=$|[\s;&|)])"
    )
    for at, word in enumerate(words):
        before = words[at - 1] if at else "--"
        if at == 0 and any(c.isspace() for c in word):
            return text.search(word) is not None  # the image's own entrypoint is a shell
        if before in ("--", "exec") and one.fullmatch(word):
            return True
        is_two = word.rsplit("/", 1)[-1] == "dask" and (
            words[at + 1 : at + 2] == [component] or words[at + 1 : at + 3] == ["cuda", component]
        )
        if is_two and (before in ("--", "exec") or at == behind):
            return True
        if at > 1 and _SHELL.fullmatch(words[0]) and _TEXT_OF_SHELL.fullmatch(before):
            return text.search(word) is not None
        if at == 2 and before == "-m" and _PYTHON.fullmatch(words[0]):
            return is_two or module.fullmatch(word) is not None
    return False


def _mentions(container: Container, component: str) -> bool:
    words = " ".join(container.words)
    return re.search(rf"\bdask[-_ ](?:cuda[-_ ])?{component}\b", words) is not None
