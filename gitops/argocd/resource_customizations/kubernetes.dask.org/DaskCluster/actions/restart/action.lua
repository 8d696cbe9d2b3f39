-- Replaces workers and scheduler within updateStrategy: nothing is lost, and a busy scheduler waits until it is idle.
local os = require("os")
obj.spec.restartedAt = os.date("!%Y-%m-%dT%H:%M:%SZ")
return obj
