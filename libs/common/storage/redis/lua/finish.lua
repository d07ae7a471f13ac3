-- A call is over: its hold becomes its computed cost until the ledger has posted it, it counts as
-- parallel no more, and the minute's tokens are what it really used.
-- ask: call, amount, tokens (-1: not known), key ('' for none), lease_ms.
-- A hold that was lost with a flushed Redis is taken again: its event goes out with this call.
local old = tonumber(redis.call('HGET', root .. ':amounts', ask.call) or '0')
if old == 0 and ask.key ~= '' then redis.call('HSET', root .. ':owners', ask.call, ask.key) end
local scope = key_scope(ask.call)
add_held('', ask.amount - old)
if scope then add_held(scope, ask.amount - old) end
redis.call('HSET', root .. ':amounts', ask.call, text(ask.amount))
redis.call('ZADD', root .. ':leases', text(now_ms + ask.lease_ms), ask.call)
redis.call('HDEL', root .. ':expired', ask.call)
for _, s in ipairs({'', scope}) do
  redis.call('ZREM', root .. ':open' .. s, ask.call)
  local counted = redis.call('HGET', root .. ':tokens' .. s, ask.call)
  if counted and ask.tokens >= 0 then
    redis.call('HSET', root .. ':tokens' .. s, ask.call, text(ask.tokens))
    redis.call('INCRBY', root .. ':sum' .. s, text(ask.tokens - tonumber(counted)))
  end
end
return 1
