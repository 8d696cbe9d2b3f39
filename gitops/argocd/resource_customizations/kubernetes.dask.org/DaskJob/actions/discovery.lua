local suspended = obj.spec.suspend == true
local ended = obj.status ~= nil and obj.status.endTime ~= nil
return {
  rerun = { disabled = suspended or not ended, displayName = "Run again", iconClass = "fa fa-fw fa-redo" },
  suspend = { disabled = suspended or ended, iconClass = "fa fa-fw fa-pause-circle" },
  resume = { disabled = not suspended, iconClass = "fa fa-fw fa-play-circle" },
}
