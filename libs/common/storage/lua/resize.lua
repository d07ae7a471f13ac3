-- Sets a call's hold to its computed cost until the ledger has posted it.
-- KEYS: held, leases, amounts. ARGV: call id, amount (nano-USD), lease (ms).
-- A hold that was lost with a flushed Redis is taken again: its event goes out with this call.
local old = redis.call('HGET', KEYS[3], ARGV[1]) or '0'
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('DECRBY', KEYS[1], old)
redis.call('INCRBY', KEYS[1], ARGV[2])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], now_ms + tonumber(ARGV[3]), ARGV[1])
return 1
