"""Which API resources we speak of, and where they live on the API server."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object as the API server names it in paths (``group`` is "" for the core group)."""

    group: str
    version: str
    plural: str
    namespaced: bool = True
    kind: str = ""

    @property
    def api_version(self) -> str:
        """``apiVersion`` as it stands in a manifest."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(
        self,
        namespace: str | None = None,
        name: str | None = None,
        subresource: str | None = None,
    ) -> str:
        """URL path of one object, or of the collection when ``name`` is None.

        ``namespace=None`` on a namespaced resource means all namespaces, which only works for
        collections: an object without its namespace raises ValueError.
        """
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace is not None and self.namespaced:
            parts += ["namespaces", namespace]
        elif name is not None and self.namespaced:
            raise ValueError(f"{self.plural} {name!r}: a namespace is needed")
        parts.append(self.plural)
        if name is not None:
            if not name:  # an empty name would silently address the whole collection
                raise ValueError(f"{self.plural}: empty name")
            parts.append(name)
            if subresource is not None:
                parts.append(subresource)
        return "/" + "/".join(quote(part, safe="") for part in parts)

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


PODS = Resource("", "v1", "pods", kind="Pod")
SERVICES = Resource("", "v1", "services", kind="Service")
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False, kind="Namespace")
RESOURCEQUOTAS = Resource("", "v1", "resourcequotas", kind="ResourceQuota")
NETWORKPOLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", kind="NetworkPolicy")
EVENTS = Resource("", "v1", "events", kind="Event")
LEASES = Resource("coordination.k8s.io", "v1", "leases", kind="Lease")
DEPLOYMENTS = Resource("apps", "v1", "deployments", kind="Deployment")
DASKCLUSTERS = Resource("kubernetes.dask.org", "v1", "daskclusters", kind="DaskCluster")
DASKWORKERGROUPS = Resource("kubernetes.dask.org", "v1", "daskworkergroups", kind="DaskWorkerGroup")
DASKAUTOSCALERS = Resource("kubernetes.dask.org", "v1", "daskautoscalers", kind="DaskAutoscaler")
DASKJOBS = Resource("kubernetes.dask.org", "v1", "daskjobs", kind="DaskJob")
SELF_SUBJECT_ACCESS_REVIEWS = Resource(
    "authorization.k8s.io",
    "v1",
    "selfsubjectaccessreviews",
    namespaced=False,
    kind="SelfSubjectAccessReview",
)
SELF_SUBJECT_REVIEWS = Resource(
    "authentication.k8s.io", "v1", "selfsubjectreviews", namespaced=False, kind="SelfSubjectReview"
)
