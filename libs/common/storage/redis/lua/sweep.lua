-- Ends leases that are over, and answers with the events of up to `ask.limit` expired calls.
-- KEYS[2] are the noted accounts, of which one that holds nothing is forgotten: `ask.account`, when
-- it was last noted `ask.visited_s` ago.
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
if seen == 0 and redis.call('ZCARD', root .. ':leases') == 0 then
  local noted = redis.call('ZSCORE', KEYS[2], ask.account)
  if noted and time[1] - noted >= ask.visited_s then redis.call('ZREM', KEYS[2], ask.account) end
end
return events
