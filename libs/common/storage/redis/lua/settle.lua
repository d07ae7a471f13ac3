-- Releases the holds of posted calls and takes over what MongoDB committed as spent.
-- KEYS: the roots of accounts; ask.accounts: of each its {calls, spent}, where spent is a list of
-- {scope, period, nusd, revision, ttl_s}: how long the copy is kept, unless it was to be kept for
-- longer already.
for n, account in ipairs(ask.accounts) do
  root = KEYS[n]
  for _, call in ipairs(account.calls) do
    release(call)
    redis.call('HDEL', root .. ':expired', call)
  end
  -- By the newest revision, then the larger amount; never by adding: workers may arrive in any
  -- order, and any number of times.
  for _, row in ipairs(account.spent) do
    local key = root .. ':spent' .. row.scope .. ':' .. row.period
    local spent, revision = spent_of(row.scope, row.period)
    local ttl_s = math.max(row.ttl_s, redis.call('TTL', key))
    if not spent or row.revision > revision or (row.revision == revision and row.nusd > spent) then
      redis.call('SET', key, text(row.nusd) .. ':' .. text(row.revision), 'EX', ttl_s)
    else
      redis.call('EXPIRE', key, ttl_s)
    end
  end
end
return 1
