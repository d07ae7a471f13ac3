-- Releases the holds of posted calls and takes over what MongoDB committed as spent.
-- KEYS: held, leases, amounts, then one `spent` key per period.
-- ARGV: number of calls, their ids, then an amount (nano-USD) and a time to live (s) per period.
local calls = tonumber(ARGV[1])
for i = 2, calls + 1 do
  local amount = redis.call('HGET', KEYS[3], ARGV[i])
  if amount then
    redis.call('DECRBY', KEYS[1], amount)
    redis.call('HDEL', KEYS[3], ARGV[i])
  end
  redis.call('ZREM', KEYS[2], ARGV[i])
end
-- By maximum, never by adding: workers may arrive in any order, and any number of times.
for n = 1, #KEYS - 3 do
  local at = calls + 2 * n
  local spent = redis.call('GET', KEYS[n + 3])
  if not spent or tonumber(spent) < tonumber(ARGV[at]) then
    redis.call('SET', KEYS[n + 3], ARGV[at], 'EX', ARGV[at + 1])
  else
    redis.call('EXPIRE', KEYS[n + 3], ARGV[at + 1])
  end
end
return 1
