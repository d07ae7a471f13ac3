-- How an account, and maybe a key of it, stand: what an admission would find, without changing
-- anything. ask: scopes: list of {scope, requests, tokens, parallel, budgets: list of periods}.
-- Answers Redis' time in ms and, for each scope, requests used, ms until the oldest of them is
-- over, tokens used, calls under way, held, and what was spent in each period (false: not known).
local function due_amounts()
  local due = redis.call('ZRANGEBYSCORE', root .. ':leases', '-inf', text(now_ms), 'LIMIT', 0, SWEEP)
  local amounts = {}
  for _, call in ipairs(due) do
    local amount = tonumber(redis.call('HGET', root .. ':amounts', call) or '0')
    amounts[''] = (amounts[''] or 0) + amount
    local scope = key_scope(call)
    if scope then amounts[scope] = (amounts[scope] or 0) + amount end
  end
  return amounts
end

local due = due_amounts()
local found = {}
for n, s in ipairs(ask.scopes) do
  local window = root .. ':window' .. s.scope
  local start = text(now_ms - WINDOW_MS)
  local oldest = redis.call('ZRANGEBYSCORE', window, '(' .. start, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  local tokens = tonumber(redis.call('GET', root .. ':sum' .. s.scope) or '0')
  for _, call in ipairs(redis.call('ZRANGEBYSCORE', window, '-inf', start, 'LIMIT', 0, PRUNE)) do
    tokens = tokens - tonumber(redis.call('HGET', root .. ':tokens' .. s.scope, call) or '0')
  end
  local spent = {}
  for m, period in ipairs(s.periods) do
    local nusd = spent_of(s.scope, period)
    spent[m] = nusd or false
  end
  found[n] = {
    redis.call('ZCOUNT', window, '(' .. start, '+inf'),
    oldest[2] and math.max(0, tonumber(oldest[2]) + WINDOW_MS - now_ms) or 0,
    tokens,
    redis.call('ZCOUNT', root .. ':open' .. s.scope, '(' .. text(now_ms), '+inf'),
    tonumber(redis.call('GET', root .. ':held' .. s.scope) or '0') - (due[s.scope] or 0),
    spent,
  }
end
return {now_ms, found}
