"""Controller for Dask clusters declared as Kubernetes custom resources (group kubernetes.dask.org)."""

__version__ = "0.1.0"
