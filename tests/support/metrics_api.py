"""Metrics for HorizontalPodAutoscalers on nodes that are only pretended: no kubelet has any, so metrics-server would not.

Registered as the API services that metrics-server and external metrics adapters would be. The API server finds it
through a Service of type ExternalName, the one kind that leads to a loopback address.
"""

from __future__ import annotations

import json
import ssl
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.certificates import self_signed
from tests.support.kubernetes import Kubectl, eventually

JSON = dict[str, Any]
GROUPS = {
    "metrics.k8s.io": {"name": "pods", "kind": "PodMetrics"},
    "external.metrics.k8s.io": {"name": "any", "kind": "ExternalMetricValueList"},
}


class MetricsApi:
    """``cpu_m``: millicores that every pod uses. An external metric ``wants-3`` always has the value 3."""

    def __init__(self, kubeconfig: str, folder: Path) -> None:
        self.cpu_m = 0
        self._kubectl = Kubectl(kubeconfig, "kube-system")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self_signed(folder, "metrics"))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()
        port = self._server.server_address[1]
        service = {"name": "test-metrics", "namespace": "kube-system"}
        self._kubectl.apply(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": service,
                "spec": {"type": "ExternalName", "externalName": "127.0.0.1"},
            },
            *(
                {
                    "apiVersion": "apiregistration.k8s.io/v1",
                    "kind": "APIService",
                    "metadata": {"name": f"v1beta1.{group}"},
                    "spec": {
                        "group": group,
                        "version": "v1beta1",
                        "groupPriorityMinimum": 100,
                        "versionPriority": 100,
                        "service": {**service, "port": port},
                        "insecureSkipTLSVerify": True,
                    },
                }
                for group in GROUPS
            ),
        )
        for group in GROUPS:
            path = f"/apis/{group}/v1beta1"
            eventually(f"{group} is served", lambda path=path: self._kubectl("get", "--raw", path))

    def stop(self) -> None:
        """The API services go first: one that nobody answers would keep namespaces from ending."""
        for group in GROUPS:
            self._kubectl.delete("apiservice", f"v1beta1.{group}")
        self._kubectl.delete("service", "test-metrics")
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(30)

    def answer(self, path: str) -> JSON | None:
        """What a GET of this path is answered with; None: not found."""
        url = urlsplit(path)
        apis, group, version, rest = path_parts(url.path)
        if apis != "apis" or group not in GROUPS or version != "v1beta1":
            return None  # also /openapi and the like, which the API server asks for
        about = {"apiVersion": f"{group}/v1beta1"}
        if not rest:
            resource = {
                **GROUPS[group],
                "namespaced": True,
                "singularName": "",
                "verbs": ["get", "list"],
            }
            return {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": f"{group}/v1beta1",
                "resources": [resource],
            }
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        namespace, what = rest[1], rest[2]
        if group == "external.metrics.k8s.io":
            value = {"metricName": what, "timestamp": now, "value": what.rpartition("-")[2]}
            return {**about, "kind": "ExternalMetricValueList", "metadata": {}, "items": [value]}
        selector = parse_qs(url.query).get("labelSelector", [""])[0]
        pods = Kubectl(self._kubectl.kubeconfig, namespace).list("pods", selector)
        usage = {"cpu": f"{self.cpu_m}m", "memory": "1Mi"}
        items = [
            {
                "metadata": {"name": pod["metadata"]["name"], "namespace": namespace},
                "timestamp": now,
                "window": "1s",
                "containers": [{"name": "worker", "usage": usage}],
            }
            for pod in pods
        ]
        return {**about, "kind": "PodMetricsList", "metadata": {}, "items": items}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                found = api.answer(self.path)
                body = json.dumps(found or {"kind": "Status", "code": 404}).encode()
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def path_parts(path: str) -> tuple[str, str, str, list[str]]:
    """The first three parts of a path, "" where it has fewer, and the rest."""
    _, *parts = path.split("/")
    first, second, third = [*parts, "", "", ""][:3]
    return first, second, third, parts[3:]
