-- Prolongs the leases of calls that are under way. ask: calls, lease_ms.
local lease_end = text(now_ms + ask.lease_ms)
for _, call in ipairs(ask.calls) do
  redis.call('ZADD', root .. ':leases', 'XX', 'GT', lease_end, call)
  redis.call('ZADD', root .. ':open', 'XX', 'GT', lease_end, call)
  local scope = key_scope(call)
  if scope then redis.call('ZADD', root .. ':open' .. scope, 'XX', 'GT', lease_end, call) end
end
return 1
