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
-- ARGV[1] claim: the new member, with no digit first. Those that differ only after
--         their last colon are of one Idempotency-Key: they come to one hold at
--         most, and count as one.
-- ARGV[2] holds at once; 0: any number
-- ARGV[3] lapses at which a person has to wait; 0: none do
-- ARGV[4] ms for which a lapse counts
-- ARGV[5] ms for which the claim counts
--
-- Returns {verdict, wait, member, …}, of members at most MOST: 1 the claim is noted,
-- with the earlier claims of its key; -1 too many holds, -2 too many lapses, with the
-- ms until one of them counts no more, and what counts, the latest first.
local ALLOWED, TOO_MANY_HOLDS, COOLING_DOWN = 1, -1, -2
local MOST = 1000

local person, claim = KEYS[1], ARGV[1]
local max_holds, max_lapses = tonumber(ARGV[2]), tonumber(ARGV[3])
local remembered, stands = tonumber(ARGV[4]), tonumber(ARGV[5])

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- A claim stands for itself, or for its key.
local function stands_for(member) return string.match(member, '^k:.*:') or member end

local all = redis.call('ZRANGE', person, '+inf', '(' .. now - remembered, 'BYSCORE', 'REV', 'WITHSCORES')
local held, lapsed, earlier = { until_ms = {} }, { until_ms = {} }, {}
local mine, counted = stands_for(claim), {}
for i = 1, #all, 2 do
  local member, score = all[i], tonumber(all[i + 1])
  local what = stands_for(member)
  if what == mine then
    earlier[#earlier + 1] = member
  elseif score > now and not counted[what] then
    counted[what] = true
    held[#held + 1], held.until_ms[#held + 1] = member, score
  elseif score <= now and string.match(member, '^%d') then
    lapsed[#lapsed + 1], lapsed.until_ms[#lapsed + 1] = member, score + remembered
  end
end

local function answer(verdict, wait, members)
  local reply = { verdict, wait }
  for i = 1, math.min(#members, MOST) do reply[2 + i] = members[i] end
  return reply
end
local function refuse(verdict, what, most)
  return answer(verdict, what.until_ms[most] - now, what)
end
if max_lapses > 0 and #lapsed >= max_lapses then return refuse(COOLING_DOWN, lapsed, max_lapses) end
if max_holds > 0 and #held >= max_holds then return refuse(TOO_MANY_HOLDS, held, max_holds) end

-- All checks are done: from here on only writes.
redis.call('ZREMRANGEBYSCORE', person, '-inf', now - remembered)
redis.call('ZADD', person, now + stands, claim)
local keep = stands + remembered
if redis.call('PTTL', person) < keep then redis.call('PEXPIRE', person, string.format('%d', keep)) end
return answer(ALLOWED, 0, earlier)
