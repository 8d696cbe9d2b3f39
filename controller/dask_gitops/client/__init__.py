"""``KubeCluster`` and its rooms: Dask clusters on Kubernetes, from Python. Knows no controller."""
