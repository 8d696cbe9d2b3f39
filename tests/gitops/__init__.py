"""The gitops tier: the real Argo CD and the real Flux controllers keep clusters as git says."""
