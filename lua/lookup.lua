#!lua flags=no-writes
-- Says where one hold stands.
--
-- KEYS[1] drop hash
-- KEYS[2] deadlines zset of the partition
-- KEYS[3] sold hash of the drop
-- KEYS[4] hold key
-- ARGV[1] drop id
-- ARGV[2] sequence number
-- ARGV[3] how many lapsed but unreleased holds to look through at most
-- ARGV[4] owner (0: anyone); to others the hold was never issued
--
-- Returns {code, string}: LIVE with the hold's description
-- (drop:seq:user:created:deadline:size), SETTLED with the ledger record of its
-- purchase or cancel, LAPSED with the description, or empty where the hold was
-- released already and only the ledger or the history knows it, and its owner.
local LIVE, SETTLED, LAPSED = 1, 2, 3
local NEVER_ISSUED, DROP_NOT_FOUND = -2, -3

local drop, deadlines, sold, hold = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, seq, most, owner = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local last_seq = redis.call('HGET', drop, 'seq')
if not last_seq then return { DROP_NOT_FOUND, '' } end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- answer is what the caller is told of a hold that is known: of another's, nothing.
local function answer(code, text, user)
  if owner ~= '0' and owner ~= user then return { NEVER_ISSUED, '' } end
  return { code, text }
end

local live = redis.call('GET', hold)
if live then
  local user, deadline = string.match(live, '^%d+:%d+:(%d+):%d+:(%d+):')
  return answer(tonumber(deadline) > now and LIVE or LAPSED, live, user)
end
local record = redis.call('HGET', sold, seq)
if record then return answer(SETTLED, record, string.match(record, '^%d+:%a:%d+:%d+:(%d+):')) end
if tonumber(seq) < 1 or tonumber(seq) > tonumber(last_seq) then return { NEVER_ISSUED, '' } end

local prefix = id .. ':' .. seq .. ':'
for _, member in ipairs(redis.call('ZRANGE', deadlines, '-inf', now, 'BYSCORE', 'LIMIT', 0, most)) do
  if string.sub(member, 1, #prefix) == prefix then
    return answer(LAPSED, member, string.match(member, '^(%d+):', #prefix + 1))
  end
end
return { LAPSED, '' }
