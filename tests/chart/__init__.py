"""Tests of the chart with the real Helm 4 and Helm 3; no Kubernetes cluster."""
