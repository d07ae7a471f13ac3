-- Takes the hold of a call under way that Redis does not know: it was admitted while Redis was
-- away, or a flush has lost it. Nothing is checked, since the call runs whatever is left.
-- ask: call, amount, key ('' for none), lease_ms, scopes: those with a parallel limit.
-- ARGV[2]: the call's event, should its gateway die.
if redis.call('HEXISTS', root .. ':amounts', ask.call) == 1 then return 0 end
redis.call('HSET', root .. ':amounts', ask.call, text(ask.amount))
redis.call('HSET', root .. ':events', ask.call, ARGV[2])
redis.call('HDEL', root .. ':expired', ask.call)
add_held('', ask.amount)
if ask.key ~= '' then
  redis.call('HSET', root .. ':owners', ask.call, ask.key)
  add_held(':key:' .. ask.key, ask.amount)
end
local lease_end = text(now_ms + ask.lease_ms)
redis.call('ZADD', root .. ':leases', lease_end, ask.call)
for _, scope in ipairs(ask.scopes) do
  redis.call('ZADD', root .. ':open' .. scope, lease_end, ask.call)
end
return 1
