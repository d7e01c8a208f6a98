#!lua flags=allow-oom
-- Gives back the units of holds whose deadline has passed. It may run any
-- number of times, from any number of processes: a member that is gone from
-- the deadlines has been dealt with. It may run when memory is out: it frees.
--
-- KEYS[1] deadlines zset of the partition
-- KEYS[2] ledger stream of the partition
-- KEYS[3] dead-letter stream of the partition
-- ARGV[1] prefix of the partition's drop hashes (same slot as KEYS[1])
-- ARGV[2] prefix of the partition's buyers hashes
-- ARGV[3] events channel
-- ARGV[4] how many at most
--
-- Returns {released, ms until the next deadline (-1: no live hold), ms by which
-- the oldest release came late, dead}. dead counts members that fit no drop or
-- no held unit: they go to the dead-letter stream, since a unit that nobody
-- can account for must neither come back nor block the others.
local RECORDS = 100 -- in one ledger entry, to keep a reader's steps small

local deadlines, ledger, dead = KEYS[1], KEYS[2], KEYS[3]
local drop_prefix, buyers_prefix, events, most = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function until_next()
  local first = redis.call('ZRANGE', deadlines, 0, 0, 'WITHSCORES')
  if #first == 0 then return -1 end
  return math.max(0, tonumber(first[2]) - now)
end

local due = redis.call('ZRANGE', deadlines, '-inf', now, 'BYSCORE', 'LIMIT', 0, most)
if #due == 0 then return { 0, until_next(), 0, 0 } end

-- Sort the members by drop and read each drop once.
local drops, order, bad, late = {}, {}, {}, 0
for _, member in ipairs(due) do
  local id, user, deadline, size = string.match(member, '^(%d+):%d+:(%d+):%d+:(%d+):(.*)$')
  local drop = id and drops[id]
  if id and drop == nil then
    local d = redis.call('HMGET', drop_prefix .. id, 'limit', 'sized', 'version')
    drop = d[1] and { limit = tonumber(d[1]), sized = d[2] == '1', version = tonumber(d[3]), pools = {}, users = {}, released = 0, late = 0 }
    drops[id] = drop or false
    if drop then order[#order + 1] = id end
  end
  local pool
  if drop then
    local name = drop.sized and size or ''
    pool = drop.pools[name]
    if pool == nil then
      local c = redis.call('HMGET', drop_prefix .. id, 'a:' .. name, 'h:' .. name, 's:' .. name)
      pool = c[1] and { tonumber(c[1]), tonumber(c[2]), tonumber(c[3]) }
      drop.pools[name] = pool or false
    end
  end
  if pool and pool[2] > 0 then
    pool[1], pool[2] = pool[1] + 1, pool[2] - 1
    drop.users[#drop.users + 1] = user
    drop.released = drop.released + 1
    drop.late = math.max(drop.late, now - tonumber(deadline))
    late = math.max(late, drop.late)
  else
    bad[#bad + 1] = member
  end
end
local is_bad = {}
for _, member in ipairs(bad) do is_bad[member] = true end

-- All checks are done: from here on only writes.
redis.call('ZREM', deadlines, unpack(due))
local released, records = 0, {}
local function flush()
  if #records > 0 then redis.call('XADD', ledger, '*', unpack(records)) end
  records = {}
end
for _, member in ipairs(due) do
  if is_bad[member] then
    redis.call('XADD', dead, '*', 'record', now .. ':x:' .. member, 'reason', 'lapsed hold fits no held unit')
  else
    released = released + 1
    records[#records + 1] = #records / 2 + 1
    records[#records + 1] = now .. ':x:' .. member
    if #records >= 2 * RECORDS then flush() end
  end
end
flush()
for _, id in ipairs(order) do
  local drop = drops[id]
  if drop.released > 0 then
    local changes, event = { 'version', drop.version + 1 }, {}
    for size, pool in pairs(drop.pools) do
      if pool then
        local n = #changes
        changes[n + 1], changes[n + 2], changes[n + 3], changes[n + 4] = 'a:' .. size, pool[1], 'h:' .. size, pool[2]
        event[size] = pool
      end
    end
    redis.call('HSET', drop_prefix .. id, unpack(changes))
    if drop.limit > 0 then
      for _, user in ipairs(drop.users) do
        if redis.call('HINCRBY', buyers_prefix .. id, user, -1) <= 0 then
          redis.call('HDEL', buyers_prefix .. id, user)
        end
      end
    end
    redis.call('PUBLISH', events, cjson.encode({
      d = tonumber(id), v = drop.version + 1, t = now, r = 'reservation_expired', s = event, l = drop.late,
    }))
  end
end
return { released, until_next(), late, #bad }
