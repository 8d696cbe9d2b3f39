-- A DaskCluster speaks kstatus, and counts its scheduler, groups and workers itself.
local health = { status = "Progressing", message = "the controller has not looked at this version yet" }
local status = obj.status or {}
if status.observedGeneration ~= obj.metadata.generation then
  return health
end

local on = {}
for _, condition in ipairs(status.conditions or {}) do
  if condition.status == "True" then
    on[condition.type] = condition.message
  end
  if condition.type == "Ready" then
    health.message = condition.message
  end
end

-- Stalled and Reconciling are there only while they are true, and Ready says the same as they do.
if on.Stalled then
  health.status = "Degraded"
elseif on.Reconciling then
  health.status = "Progressing"
elseif on.Suspended then
  health.status = "Suspended"
elseif on.Ready then
  health.status = "Healthy"
end

-- Nothing is wrong, but people want to know.
for _, word in ipairs({ "UpdatePending", "ReplicasOverridden", "OrphanedPods", "SpecWarning" }) do
  if on[word] then
    health.message = health.message .. "; " .. word .. ": " .. on[word]
  end
end
return health
