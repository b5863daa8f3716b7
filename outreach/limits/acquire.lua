-- Pay executions into their logs, one after the other: every cap of every scope has room, or nothing of it is written.
--
-- One log per scope, a sorted set. All instants are business time in epoch milliseconds.
--   <execution id>   score  effect_by: the last instant at which the provider can have accepted it
--   start            score  minus the newest start; absent while nothing ever started
--   floor            score  minus the instant after which the log is complete: the sentinel.
-- Start and floor are negative, so no window ever counts them. They live in the log itself: a log that is lost
-- is lost with its sentinel, and a key is evicted whole or not at all.
--
-- KEYS     the logs, one per scope, those of the first execution first; last of all the instance's highest claim
-- ARGV     for each execution: JSON {id, now, hold, scopes: [{pace, since, keep, ttl, caps: [{limit, since, window | midnight}]}]}
--            hold      how long after its start the provider may still accept
--            since     scope: how far back its caps look; cap: effects after it count (exclusive)
--            keep      entries up to here may be forgotten
--            window    rolling caps; midnight: caps on the local date, the instant at which they free
--          last of all 'fence:execution' of the highest claim that the asking process has made ('0:0': none)
-- returns  for each execution: {'granted'} | {'unseeded', scope number, ...} | {'full', scope number, cap number or 0 for pace, frees at}
--          last of all the highest claim that anybody has made, as 'fence:execution'

-- Answers of the execution whose logs are these.
local function pay(ask, logs)
  local function score(log, member)
    local found = redis.call('ZSCORE', log, member)
    return found and tonumber(found)
  end

  -- The cap's limit-th newest effect. The execution's own entry stands aside: paying again costs nothing.
  local function nth_newest(log, limit)
    local own = redis.call('ZREVRANK', log, ask.id)
    local rank = (own and own < limit) and limit or limit - 1
    return tonumber(redis.call('ZREVRANGE', log, rank, rank, 'WITHSCORES')[2])
  end

  local function integer(number)
    return string.format('%.0f', number)
  end

  local unseeded = {'unseeded'}
  for i, scope in ipairs(ask.scopes) do
    local floor = score(logs[i], 'floor')
    if not floor or -floor > scope.since then
      table.insert(unseeded, i)
    else
      redis.call('PEXPIRE', logs[i], integer(scope.ttl))
    end
  end
  if #unseeded > 1 then
    return unseeded
  end

  -- Of all refusals the one that lasts longest, the first of equals.
  local refusal, latest = nil, 0
  local function refuse(scope_number, cap_number, frees_at)
    if frees_at > latest then
      refusal, latest = {'full', scope_number, cap_number, frees_at}, frees_at
    end
  end

  local start = ask.now
  for i, scope in ipairs(ask.scopes) do
    local log, newest = logs[i], -(score(logs[i], 'start') or 0)
    start = math.max(start, newest)
    -- While its call may be open, the execution asks for a grant it already holds: its own start sets no pace.
    local repeated = (score(log, ask.id) or 0) > ask.now
    if scope.pace > 0 and newest + scope.pace > ask.now and not repeated then
      refuse(i, 0, newest + scope.pace)
    end
    for c, cap in ipairs(scope.caps) do
      local nth = nth_newest(log, cap.limit)
      if nth and nth > cap.since then
        refuse(i, c, cap.midnight or nth + cap.window)
      end
    end
  end
  if refusal then
    return refusal
  end

  for i, scope in ipairs(ask.scopes) do
    local floor = math.max(-score(logs[i], 'floor'), scope.keep)
    redis.call('ZREMRANGEBYSCORE', logs[i], 0, integer(scope.keep))
    redis.call('ZADD', logs[i], integer(-floor), 'floor', integer(-start), 'start', integer(start + ask.hold), ask.id)
  end
  return {'granted'}
end

local answers, first, last = {}, 1, #ARGV
for n = 1, last - 1 do
  local ask, logs = cjson.decode(ARGV[n]), {}
  for i = 1, #ask.scopes do
    logs[i] = KEYS[first + i - 1]
  end
  answers[n], first = pay(ask, logs), first + #logs
end
answers[last] = highest(ARGV[last], KEYS[#KEYS])
return answers
