"""Pure: custom resources -> the Kubernetes objects they mean, and views of the objects observed."""
