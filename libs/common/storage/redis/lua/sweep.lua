-- Ends leases that are over, and answers with the events of up to `ask.limit` expired calls, and
-- whether the account still holds anything.
expire_leases()
local events, seen = {}, 0
local cursor = '0'
repeat
  local page = redis.call('HSCAN', root .. ':expired', cursor, 'COUNT', ask.limit)
  cursor = page[1]
  for i = 2, #page[2], 2 do
    seen = seen + 1
    events[seen] = page[2][i]
  end
until cursor == '0' or seen >= ask.limit
return {events, redis.call('ZCARD', root .. ':leases') + seen}
