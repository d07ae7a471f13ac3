-- What the scripts of an account share. KEYS[1] is its root, such as `gateway:{acme}`; all other
-- keys start with it, so they lie in one hash slot. A scope is '' for the account itself, or
-- ':key:<id>' for one of its API keys.
--   root:held<scope>      amount that calls hold (nano-USD)
--   root:spent<scope>:<period>   what MongoDB says was spent, and at which revision
--   root:open<scope>      calls under way, by the end of their lease (for parallel limits)
--   root:window<scope>    calls of the last minute, by the time of their admission
--   root:tokens<scope>    tokens of each of those; root:sum<scope> is their sum
--   root:leases           every hold, by the end of its lease
--   root:amounts, root:owners, root:events   a hold's amount, its API key and its event
--   root:expired          events of holds whose lease ended: to be posted as abandoned
local root = KEYS[1]
local ask = cjson.decode(ARGV[1])
local WINDOW_MS = 60000
-- No call pays for the clearing up of more than this.
local SWEEP = 64
local PRUNE = 1000

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

-- Numbers go to Redis as text: all are integers below 2^53, which %.0f writes exactly.
-- Adding 0 turns -0, which Redis takes for no integer, into 0.
local function text(number) return string.format('%.0f', number + 0) end

-- nano-USD spent and the revision of that figure; nil where it is not known here.
local function spent_of(scope, period)
  local value = redis.call('GET', root .. ':spent' .. scope .. ':' .. period)
  if not value then return nil end
  local nusd, revision = string.match(value, '^(-?%d+):(%d+)$')
  return tonumber(nusd), tonumber(revision)
end

local function add_held(scope, amount)
  if redis.call('INCRBY', root .. ':held' .. scope, text(amount)) == 0 then
    redis.call('DEL', root .. ':held' .. scope)
  end
end

local function key_scope(call)
  local key = redis.call('HGET', root .. ':owners', call)
  return key and (':key:' .. key) or nil
end

local function release(call)
  local amount = redis.call('HGET', root .. ':amounts', call)
  local scope = key_scope(call)
  if amount then
    add_held('', -tonumber(amount))
    if scope then add_held(scope, -tonumber(amount)) end
  end
  redis.call('HDEL', root .. ':amounts', call)
  redis.call('HDEL', root .. ':owners', call)
  redis.call('HDEL', root .. ':events', call)
  redis.call('ZREM', root .. ':leases', call)
  redis.call('ZREM', root .. ':open', call)
  if scope then redis.call('ZREM', root .. ':open' .. scope, call) end
end

-- Holds whose gateway died stop counting when their lease ends; what is known of their calls waits
-- for the ledger to say so.
local function expire_leases()
  local due = redis.call('ZRANGEBYSCORE', root .. ':leases', '-inf', text(now_ms), 'LIMIT', 0, SWEEP)
  for _, call in ipairs(due) do
    local event = redis.call('HGET', root .. ':events', call)
    if event then redis.call('HSET', root .. ':expired', call, event) end
    release(call)
  end
end
