#!lua flags=allow-oom
-- Gives back the units of holds whose deadline has passed. It may run any
-- number of times, from any number of processes: a member that is gone from
-- the deadlines has been dealt with. It may run when memory is out: it frees.
--
-- KEYS[1] meta hash of the partition
-- KEYS[2] deadlines zset of the partition
-- KEYS[3] ledger stream of the partition
-- KEYS[4] dead-letter stream of the partition
-- ARGV[1] token: the epoch the caller was admitted in
-- ARGV[2] prefix of the partition's drop hashes (same slot as KEYS[1])
-- ARGV[3] prefix of the partition's buyers hashes
-- ARGV[4] events channel
-- ARGV[5] how many at most
--
-- Returns {released, ms until the next deadline (-1: no live hold), ms by which
-- the oldest release came late, dead}. dead counts members that fit no drop or
-- no held unit: they go to the dead-letter stream, since a unit that nobody
-- can account for must neither come back nor block the others.
-- The error HFFENCED says that nothing was done.
local RECORDS = 100 -- in one ledger entry, to keep a reader's steps small

local meta, deadlines, ledger, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local token, drop_prefix, buyers_prefix, events, most = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

-- The fence: epoch.lua says what it is.
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local m = redis.call('HMGET', meta, 'epoch', 'server', 'claim')
if not (token == m[1] and server == m[2]) and token ~= server .. ':' .. (m[3] or '') then
  return redis.error_reply('HFFENCED ' .. meta)
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Asked before the writes, which may empty the deadlines: a key that is gone
-- cannot be read in a slot that is just moving to another server.
local function until_next()
  local first = redis.call('ZRANGE', deadlines, '(' .. now, '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
  return first[2] and tonumber(first[2]) - now or -1
end

local due = redis.call('ZRANGE', deadlines, '-inf', now, 'BYSCORE', 'LIMIT', 0, most)
if #due == 0 then return { 0, until_next(), 0, 0 } end

-- Sort the members by drop and read each drop once. They come by deadline, so
-- the first of a drop is its latest.
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
    if drop.limit > 0 then drop.users[#drop.users + 1] = user end
    if drop.released == 0 then
      drop.late = now - tonumber(deadline)
      late = math.max(late, drop.late)
    end
    drop.released = drop.released + 1
  else
    bad[#bad + 1] = member
  end
end
local is_bad = {}
for _, member in ipairs(bad) do is_bad[member] = true end
-- The buyers hashes are in no KEYS: in a slot that is just moving to another
-- server reading them fails, while nothing is written yet.
for _, id in ipairs(order) do
  local drop = drops[id]
  if drop.limit > 0 and #drop.users > 0 then
    local counts = redis.call('HMGET', buyers_prefix .. id, unpack(drop.users))
    drop.counts = {}
    for i, user in ipairs(drop.users) do drop.counts[user] = tonumber(counts[i] or 0) end
    for _, user in ipairs(drop.users) do drop.counts[user] = drop.counts[user] - 1 end
  end
end
local next = until_next()

-- All checks are done: from here on only writes. What is due is the head of the
-- deadlines.
redis.call('ZREMRANGEBYRANK', deadlines, 0, #due - 1)
local numbers = {} -- as text, or each would be turned into it once a record
for i = 1, math.min(RECORDS, #due) do numbers[i] = tostring(i) end
local ended, released, records, n = now .. ':x:', 0, {}, 0
local function flush()
  if n > 0 then redis.call('XADD', ledger, '*', unpack(records, 1, 2 * n)) end
  n = 0
end
for _, member in ipairs(due) do
  if is_bad[member] then
    redis.call('XADD', dead, '*', 'record', ended .. member, 'reason', 'lapsed hold fits no held unit')
  else
    released, n = released + 1, n + 1
    records[2 * n - 1], records[2 * n] = numbers[n], ended .. member
    if n == RECORDS then flush() end
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
    if drop.counts then
      local counts, gone = {}, {}
      for user, count in pairs(drop.counts) do
        if count > 0 then counts[#counts + 1] = user; counts[#counts + 1] = count else gone[#gone + 1] = user end
      end
      if #counts > 0 then redis.call('HSET', buyers_prefix .. id, unpack(counts)) end
      if #gone > 0 then redis.call('HDEL', buyers_prefix .. id, unpack(gone)) end
    end
    redis.call('PUBLISH', events, cjson.encode({
      d = tonumber(id), v = drop.version + 1, t = now, r = 'reservation_expired', s = event, l = drop.late,
    }))
  end
end
return { released, next, late, #bad }
