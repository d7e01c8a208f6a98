#!lua
-- Notes that a person is about to hold one more unit, of whatever drop, unless
-- they hold too many or have let too many lapse. A person's holds are in as many
-- partitions as their drops, so this is kept apart from them, by person.
--
-- It has no fence: what it keeps is no stock. Each member says of itself until
-- when it counts, so what is left behind by mishap rights itself.
--
-- KEYS[1] the person's zset: id of a reservation (or a claim that is none yet),
--         score = deadline. What was bought or given back is taken out; so what
--         is past its deadline has lapsed.
-- ARGV[1] claim: the new member, with no digit first
-- ARGV[2] holds at once; 0: any number
-- ARGV[3] lapses at which a person has to wait; 0: none do
-- ARGV[4] ms for which a lapse counts
-- ARGV[5] ms for which the claim counts
--
-- Returns {verdict, wait, member, …}: 1 the claim is noted; -1 too many holds, -2
-- too many lapses, with the ms until one of them counts no more, and all that count.
local ALLOWED, TOO_MANY_HOLDS, COOLING_DOWN = 1, -1, -2

local person, claim = KEYS[1], ARGV[1]
local max_holds, max_lapses = tonumber(ARGV[2]), tonumber(ARGV[3])
local remembered, stands = tonumber(ARGV[4]), tonumber(ARGV[5])

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local all = redis.call('ZRANGE', person, '(' .. now - remembered, '+inf', 'BYSCORE', 'WITHSCORES')
local held, lapsed = { until_ms = {} }, { until_ms = {} }
for i = 1, #all, 2 do
  local member, score = all[i], tonumber(all[i + 1])
  if member ~= claim then
    if score > now then
      held[#held + 1], held.until_ms[#held + 1] = member, score
    elseif string.match(member, '^%d') then
      lapsed[#lapsed + 1], lapsed.until_ms[#lapsed + 1] = member, score + remembered
    end
  end
end

local function refuse(verdict, what, most)
  return { verdict, what.until_ms[#what - most + 1] - now, unpack(what) }
end
if max_lapses > 0 and #lapsed >= max_lapses then return refuse(COOLING_DOWN, lapsed, max_lapses) end
if max_holds > 0 and #held >= max_holds then return refuse(TOO_MANY_HOLDS, held, max_holds) end

-- All checks are done: from here on only writes.
redis.call('ZREMRANGEBYSCORE', person, '-inf', now - remembered)
redis.call('ZADD', person, now + stands, claim)
local keep = stands + remembered
if redis.call('PTTL', person) < keep then redis.call('PEXPIRE', person, string.format('%d', keep)) end
return { ALLOWED, 0 }
