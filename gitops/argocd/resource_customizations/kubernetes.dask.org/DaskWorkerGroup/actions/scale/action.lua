-- Lasts as long as git says nothing of the number (docs/replicas.md). Workers that go hand over their results first.
local replicas = tonumber(actionParams["replicas"])
if not replicas or replicas < 0 or replicas % 1 ~= 0 then
  error("replicas: " .. tostring(actionParams["replicas"]) .. " is no number of workers; give 0, 1, 2 ...", 0)
end
obj.spec.worker = obj.spec.worker or {}
obj.spec.worker.replicas = replicas
return obj
