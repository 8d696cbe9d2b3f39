"""How a client gets to the scheduler: addresses that stay the same for as long as it is wanted."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from dask_gitops.client.live import Live, is_final
from dask_gitops.client.relay import Relay
from dask_gitops.kube import SERVICES, ApiError, Informer, KubeClient
from dask_gitops.kube.portforward import HOST, PortForward
from dask_gitops.model.podspec import Container, PodSpec
from dask_gitops.resources import labels, names
from dask_gitops.resources.listening import of_scheduler
from dask_gitops.resources.observed import Pod

JSON = dict[str, Any]
T = TypeVar("T")
log = logging.getLogger("dask_gitops")
#: A node's port that does not answer for so long is taken for one that nobody lets us reach.
NODE_PORT_S = 5.0
#: So long a cloud may take to make a load balancer.
LOAD_BALANCER_S = 300.0
#: Between two attempts to reach a process that does not listen yet.
AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """What the user said about it.

    :ivar inside: we run in a Pod.
    :ivar forward: True: always; False: never; None: where nothing else leads there.
    :ivar external: the address, where the user knows it.
    :ivar dashboard_port: of this machine; 0: any.
    :ivar scheme: ``tcp`` or ``tls``.
    :ivar relay: the dashboard is wanted on a port of this machine, as a proxy here knows no other.
    """

    inside: bool
    forward: bool | None = None
    external: str | None = None
    dashboard_port: int = 0
    scheme: str = "tcp"
    relay: bool = False


def kind_of(plan: Plan, service_type: str) -> str:
    """``external``, ``forward``, ``service``, ``LoadBalancer`` or ``NodePort``."""
    if plan.external is not None:
        return "external"
    if plan.forward:
        return "forward"
    if plan.inside:
        return "service"
    if service_type in ("LoadBalancer", "NodePort"):
        return service_type
    return "service" if plan.forward is False else "forward"


class PortInUseError(OSError):
    """A port of this machine that was asked for."""

    def __str__(self) -> str:
        return str(self.strerror)


class Way:
    """:ivar address: of the scheduler, for clients.
    :ivar dashboard: host and port.
    :ivar refusal: why nobody gets through, and will not.
    :ivar waits: what it waits for, in words; "": for nothing.
    :ivar slow_s: so long that may last with the best of wills.
    :ivar heard: the last that a forwarded port said of its trouble; "": nothing yet.
    """

    def __init__(self, api: KubeClient, live: Live, plan: Plan, say: Callable[[str], None]) -> None:
        self._api = api
        self._live = live
        self._plan = plan
        self._say = say
        self._ports: list[PortForward | Relay] = []
        self.refusal: ApiError | None = None
        self.waits = ""
        self.slow_s = 0.0
        self.heard = ""
        self.address = ""
        self.dashboard: tuple[str, int] = ("", 0)

    async def open(self) -> None:
        """Find it, once the scheduler's container runs. It need not listen yet.

        :raises OSError: the port of this machine is in use.
        """
        kind = kind_of(self._plan, _service_type(self._live.cluster or {}))
        if kind == "external":
            assert self._plan.external is not None
            self.address = self._plan.external
            host = self.address.split("://")[1].split("/")[0].rsplit(":", 1)[0]
            self.dashboard = (host, names.DASHBOARD_PORT)
        elif kind == "service":
            await self._by_service()
        elif kind == "LoadBalancer":
            await self._by_load_balancer()
        elif kind == "NodePort" and await self._by_node_port():
            pass
        else:
            await self._by_forward()

    def try_port(self, cluster: JSON) -> None:
        """Before a cluster is made: is the port of this machine free that it will need?

        :raises OSError: it is in use.
        """
        port, kind = self._plan.dashboard_port, kind_of(self._plan, _service_type(cluster))
        relays = kind == "service" and self._plan.relay and self._plan.inside
        if port and (kind == "forward" or relays):
            with contextlib.suppress(PermissionError):  # told once it is needed
                try:
                    socket.create_server((HOST, port)).close()
                except OSError as error:
                    raise _told(error, port) from None

    async def close(self) -> None:
        """No socket and no task is left."""
        ports, self._ports = self._ports, []
        await asyncio.gather(*(port.close() for port in ports))

    # ---- each of them

    async def _by_forward(self) -> None:
        comm, http = self._pod_ports()
        port = await self._forward(comm, 0)
        self.address = f"{self._plan.scheme}://127.0.0.1:{port}"
        port = await self._forward(http, self._plan.dashboard_port)
        self.dashboard = ("127.0.0.1", port)

    async def _forward(self, pod_port: int, port: int) -> int:
        forward = PortForward(
            self._api,
            self._live.namespace,
            self._current,
            pod_port,
            on_error=self._heard,
            on_refusal=self._refused,
        )
        return await self._listen(forward, port)

    async def _listen(self, where: PortForward | Relay, port: int) -> int:
        self._ports.append(where)
        try:
            return await where.start(port)
        except OSError as error:
            raise _told(error, port) from None

    async def _current(self) -> str:
        """The name of the scheduler's Pod that runs now."""

        def running() -> str | None:
            raw = self._live.scheduler
            pod = None if raw is None else Pod.of(raw)
            return pod.meta.name if pod is not None and pod.running and not pod.gone else None

        return await self._live.until(running)

    def _heard(self, words: str) -> None:
        log.debug("%s", words)
        self.heard = words

    def _refused(self, error: ApiError) -> None:
        self.refusal = error
        self._live.wake()

    async def _by_service(self) -> None:
        comm, http = await self._service_ports("port")
        name = f"{names.scheduler_name(self._live.name)}.{self._live.namespace}.svc"
        self.waits = "its port does not answer"
        await self._listens(lambda: self._pod_address(self._pod_ports()[0]))
        self.waits = ""
        self.address = f"{self._plan.scheme}://{name}:{comm}"
        self.dashboard = (name, http)
        if self._plan.relay and self._plan.inside:
            port = await self._listen(Relay(name, http), self._plan.dashboard_port)
            self.dashboard = ("127.0.0.1", port)

    async def _by_load_balancer(self) -> None:
        ingress = await self._of_service(
            _ingress, "its load balancer has no address", slow_s=LOAD_BALANCER_S
        )
        host = ingress.get("ip") or ingress.get("hostname")
        comm, http = await self._service_ports("port")
        self.address = f"{self._plan.scheme}://{_bracketed(host)}:{comm}"
        self.dashboard = (str(host), http)

    async def _of_service(
        self, find: Callable[[JSON], T | None], waits: str, *, slow_s: float = 0.0
    ) -> T:
        """What is found in the scheduler's Service, once it has it.

        :raises ApiError: it may not be read.
        """
        found: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def look(old: JSON | None, service: JSON | None) -> None:
            value = None if service is None else find(service)
            if value is not None and not found.done():
                found.set_result(value)

        def fail(error: Exception) -> None:
            log.debug("Service %s: %s", name, error)
            if is_final(error) and not found.done():
                found.set_exception(error)

        name = names.scheduler_name(self._live.name)
        informer: Informer[JSON] = Informer(
            self._api,
            SERVICES,
            lambda raw: raw,
            namespace=self._live.namespace,
            field_selector=f"metadata.name={name}",
            on_change=look,
            on_error=fail,
        )
        task = asyncio.create_task(informer.run())
        self.waits, self.slow_s = waits, slow_s
        try:
            return await found
        finally:
            self.waits, self.slow_s = "", 0.0
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _by_node_port(self) -> bool:
        comm, http = await self._service_ports("nodePort")
        host = ((self._live.scheduler or {}).get("status") or {}).get("hostIP")
        if not host or not comm:
            return False
        try:
            async with asyncio.timeout(NODE_PORT_S):
                await self._listens(lambda: (host, comm))
        except TimeoutError:
            if self._plan.forward is False:
                raise OSError(f"node port {host}:{comm} does not answer") from None
            self._say(f"node port {host}:{comm} does not answer: a port is forwarded instead")
            return False
        self.address = f"{self._plan.scheme}://{_bracketed(host)}:{comm}"
        self.dashboard = (host, http)
        return True

    # ---- what is known

    def _pod_ports(self) -> tuple[int, int]:
        """Where the scheduler listens in its Pod: for clients, and for HTTP."""
        spec = (self._live.scheduler or {}).get("spec") or {}
        main = PodSpec.trusted(spec).main(labels.SCHEDULER) or Container({})
        found = of_scheduler(main)
        return found.comm, found.http

    def _pod_address(self, port: int) -> tuple[str, int] | None:
        host = ((self._live.scheduler or {}).get("status") or {}).get("podIP")
        return (host, port) if host else None

    async def _service(self) -> JSON:
        """It, once there is one."""
        name = names.scheduler_name(self._live.name)
        try:
            return await self._api.get(SERVICES, self._live.namespace, name)
        except ApiError as error:
            if not error.is_not_found:
                raise
        return await self._of_service(lambda service: service, f"Service {name} is not there")

    async def _service_ports(self, field: str) -> tuple[int, int]:
        """Its ports for clients and for HTTP: by name, or what leads to the scheduler's own."""
        ports = ((await self._service()).get("spec") or {}).get("ports") or []
        found = []
        own = ("tcp-comm", names.COMM_PORT), ("http-dashboard", names.DASHBOARD_PORT)
        for (name, number), in_pod in zip(own, self._pod_ports(), strict=True):
            by_name = [each for each in ports if each.get("name") == name]
            by_number = [
                each
                for each in ports
                if {each.get("targetPort"), each.get("port")} & {name, number, in_pod}
            ]
            found.append(next((each.get(field) or 0 for each in by_name + by_number), 0))
        return found[0], found[1]

    async def _listens(self, where: Callable[[], tuple[str, int] | None]) -> None:
        """Wait until a process accepts connections there."""
        while True:
            if (address := where()) is None:
                await self._live.change(AGAIN_S)
                continue
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(2.0):
                    _, writer = await asyncio.open_connection(*address)
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
                return
            await asyncio.sleep(AGAIN_S)


def _told(error: OSError, port: int) -> OSError:
    """An error of a port to listen on, with the argument's name."""
    if not port or error.errno != errno.EADDRINUSE:
        return error
    words = f"scheduler_forward_port {port} is in use on this machine; leave it out for a free one"
    return PortInUseError(error.errno, words)


def _service_type(cluster: JSON) -> str:
    scheduler = (cluster.get("spec") or {}).get("scheduler") or {}
    return str((scheduler.get("service") or {}).get("type") or "ClusterIP")


def _ingress(service: JSON) -> JSON | None:
    """The load balancer's address."""
    status = service.get("status") or {}
    addresses = (status.get("loadBalancer") or {}).get("ingress")
    return dict(addresses[0]) if addresses else None


def _bracketed(host: Any) -> str:
    return f"[{host}]" if ":" in str(host) else str(host)
