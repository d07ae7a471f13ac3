-- Prolongs the leases of calls that are under way. ask: calls, lease_ms. Answers with those whose
-- hold is not known here.
local lease_end = text(now_ms + ask.lease_ms)
local unknown = {}
for _, call in ipairs(ask.calls) do
  if redis.call('HEXISTS', root .. ':amounts', call) == 0 then unknown[#unknown + 1] = call end
  redis.call('ZADD', root .. ':leases', 'XX', 'GT', lease_end, call)
  redis.call('ZADD', root .. ':open', 'XX', 'GT', lease_end, call)
  local scope = key_scope(call)
  if scope then redis.call('ZADD', root .. ':open' .. scope, 'XX', 'GT', lease_end, call) end
end
return unknown
