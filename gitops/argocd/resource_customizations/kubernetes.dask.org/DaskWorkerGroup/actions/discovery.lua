return {
  scale = { iconClass = "fa fa-fw fa-plus-circle", params = { { name = "replicas" } } },
}
