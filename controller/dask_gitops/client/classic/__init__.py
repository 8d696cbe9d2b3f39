"""The classic ``dask_kubernetes.KubeCluster``, which took a worker's Pod: its words, and what comes of them."""
