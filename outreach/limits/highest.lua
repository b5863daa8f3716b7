-- The highest claim of the instance, kept outside its database: one that draws a lower fence is a restored one.
local function highest(claim, key)
  local known = redis.call('GET', key) or '0:0'
  if tonumber(string.match(claim, '^%d+')) > tonumber(string.match(known, '^%d+')) then
    redis.call('SET', key, claim)
    return claim
  end
  return known
end
