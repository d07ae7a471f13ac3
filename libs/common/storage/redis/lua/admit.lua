-- Admits a call, or says why not. Everything is checked before anything is changed.
-- ask: call, hold, lease_ms, tokens, key (of a call whose key has budgets or limits, else '')
--      scopes: list of {key_id, requests, tokens, parallel, budgets: list of {period, limit}}
--      where key_id is null for the account, and a limit of -1 is none.
-- ARGV[2]: the call's event, should its gateway die.
-- Answers, after the code and Redis' time in ms:
--   0: windows {requests left, ms until one more, tokens left, ms until all}, {spent, held}...
--   1: scope n, budget m, spent, held        (over budget)
--   2: scope n, budget m                     (spend not known here)
--   3: scope n, which limit, used, ms to wait
local REQUESTS, TOKENS, PARALLEL = 1, 2, 3

local function window_of(scope)
  local window, tokens = root .. ':window' .. scope, root .. ':tokens' .. scope
  local sum = root .. ':sum' .. scope
  local old = redis.call('ZRANGEBYSCORE', window, '-inf', text(now_ms - WINDOW_MS), 'LIMIT', 0, PRUNE)
  for _, call in ipairs(old) do
    local count = redis.call('HGET', tokens, call)
    if count then redis.call('DECRBY', sum, count) end
    redis.call('HDEL', tokens, call)
    redis.call('ZREM', window, call)
  end
  return window, tokens, sum
end

-- Milliseconds until the oldest calls that free that many tokens have left the window.
local function wait_for_tokens(window, tokens, needed)
  local calls = redis.call('ZRANGE', window, 0, PRUNE - 1, 'WITHSCORES')
  local freed, last = 0, now_ms
  for i = 1, #calls, 2 do
    freed = freed + tonumber(redis.call('HGET', tokens, calls[i]) or '0')
    last = tonumber(calls[i + 1])
    if freed >= needed then break end
  end
  return math.max(1, last + WINDOW_MS - now_ms)
end

for _, s in ipairs(ask.scopes) do
  s.scope = s.key_id == cjson.null and '' or ':key:' .. s.key_id
end
expire_leases()
local seen = redis.call('HEXISTS', root .. ':amounts', ask.call) == 1
local windows, totals = {}, {}

for n, s in ipairs(ask.scopes) do
  if s.parallel >= 0 and not seen then
    local open = root .. ':open' .. s.scope
    redis.call('ZREMRANGEBYSCORE', open, '-inf', text(now_ms))
    local used = redis.call('ZCARD', open)
    if used >= s.parallel then return {3, now_ms, n, PARALLEL, used, 1000} end
  end
  if s.requests >= 0 or s.tokens >= 0 then
    local window, tokens, sum = window_of(s.scope)
    local used = redis.call('ZCARD', window)
    local used_tokens = tonumber(redis.call('GET', sum) or '0')
    if not seen then
      if s.requests >= 0 and used >= s.requests then
        local oldest = redis.call('ZRANGE', window, used - s.requests, used - s.requests, 'WITHSCORES')
        local frees = tonumber(oldest[2] or text(now_ms))
        return {3, now_ms, n, REQUESTS, used, math.max(1, frees + WINDOW_MS - now_ms)}
      end
      if s.tokens >= 0 and used_tokens + ask.tokens > s.tokens then
        local wait = wait_for_tokens(window, tokens, used_tokens + ask.tokens - s.tokens)
        return {3, now_ms, n, TOKENS, used_tokens, wait}
      end
      used, used_tokens = used + 1, used_tokens + ask.tokens
    end
    local first = redis.call('ZRANGE', window, 0, 0, 'WITHSCORES')
    local reset = math.max(0, tonumber(first[2] or text(now_ms)) + WINDOW_MS - now_ms)
    windows[n] = {math.max(0, s.requests - used), reset, math.max(0, s.tokens - used_tokens), reset}
  else
    windows[n] = {0, 0, 0, 0}
  end
end

for n, s in ipairs(ask.scopes) do
  local held = tonumber(redis.call('GET', root .. ':held' .. s.scope) or '0')
  for m, budget in ipairs(s.budgets) do
    local spent = spent_of(s.scope, budget.period)
    if not spent then return {2, now_ms, n, m} end
    if not seen and spent + held + ask.hold > budget.limit then
      return {1, now_ms, n, m, spent, held}
    end
    totals[#totals + 1] = {spent, held + (seen and 0 or ask.hold)}
  end
end

-- A second try of the same call keeps its first hold.
if not seen then
  redis.call('HSET', root .. ':amounts', ask.call, text(ask.hold))
  redis.call('HSET', root .. ':events', ask.call, ARGV[2])
  add_held('', ask.hold)
  if ask.key ~= '' then
    redis.call('HSET', root .. ':owners', ask.call, ask.key)
    add_held(':key:' .. ask.key, ask.hold)
  end
  for _, s in ipairs(ask.scopes) do
    if s.requests >= 0 or s.tokens >= 0 then
      redis.call('ZADD', root .. ':window' .. s.scope, text(now_ms), ask.call)
      -- A call that comes again after its hold is gone may still be in the window.
      local counted = redis.call('HGET', root .. ':tokens' .. s.scope, ask.call) or '0'
      redis.call('HSET', root .. ':tokens' .. s.scope, ask.call, text(ask.tokens))
      redis.call('INCRBY', root .. ':sum' .. s.scope, text(ask.tokens - tonumber(counted)))
      for _, name in ipairs({':window', ':tokens', ':sum'}) do
        redis.call('PEXPIRE', root .. name .. s.scope, 2 * WINDOW_MS)
      end
    end
  end
end
local lease_end = text(now_ms + ask.lease_ms)
redis.call('ZADD', root .. ':leases', lease_end, ask.call)
for _, s in ipairs(ask.scopes) do
  if s.parallel >= 0 then redis.call('ZADD', root .. ':open' .. s.scope, lease_end, ask.call) end
end
return {0, now_ms, windows, totals}
