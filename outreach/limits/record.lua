-- The ledger's word on executions: each started then, and counts until its effect_by. The logs are those of acquire.lua.
--
-- KEYS     the logs, one per row; last of all the instance's highest claim
-- ARGV     for each row: JSON {id, start, effect_by, ttl}; instants in epoch milliseconds; last of all the highest claim, as in acquire.lua

for n = 1, #ARGV - 1 do
  local row = cjson.decode(ARGV[n])
  local function integer(number)
    return string.format('%.0f', number)
  end
  redis.call('ZADD', KEYS[n], integer(row.effect_by), row.id)
  redis.call('ZADD', KEYS[n], 'LT', integer(-row.start), 'start')
  redis.call('PEXPIRE', KEYS[n], integer(row.ttl))
end
highest(ARGV[#ARGV], KEYS[#KEYS])
return redis.status_reply('OK')
