-- Admits a call against its account's budgets and takes its hold, or says why not.
-- KEYS: held, leases, amounts, then one `spent` key per budget.
-- ARGV: call id, hold (nano-USD), lease (ms), then one limit (nano-USD) per budget.
-- Answers: {0, held}: admitted; {1, n, spent, held}: budget n (from 1) is exhausted;
-- {2, n}: the spend of budget n is not known here.
local held_key, leases, amounts = KEYS[1], KEYS[2], KEYS[3]
local call_id, hold, lease_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

-- Holds whose gateway died stop counting when their lease ends; bounded, so no call pays for many.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now_ms, 'LIMIT', 0, 64)) do
  local amount = redis.call('HGET', amounts, id)
  if amount then redis.call('DECRBY', held_key, amount) end
  redis.call('HDEL', amounts, id)
  redis.call('ZREM', leases, id)
end

local held = tonumber(redis.call('GET', held_key) or '0')
for n = 1, #KEYS - 3 do
  local spent = redis.call('GET', KEYS[n + 3])
  if not spent then return {2, n} end
  if tonumber(spent) + held + hold > tonumber(ARGV[n + 3]) then
    return {1, n, tonumber(spent), held}
  end
end

-- A second try of the same call keeps its first hold.
if redis.call('HSETNX', amounts, call_id, ARGV[2]) == 1 then
  held = redis.call('INCRBY', held_key, ARGV[2])
end
redis.call('ZADD', leases, now_ms + lease_ms, call_id)
return {0, held}
