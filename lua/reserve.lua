#!lua
-- Reserves units of one drop for a batch of people: each gets one unit, or a
-- refusal that leaves no trace. The batch is one atomic step, in its order.
--
-- KEYS[1] meta hash of the partition
-- KEYS[2] drop hash
-- KEYS[3] deadlines zset of the partition
-- KEYS[4] buyers hash of the drop
-- KEYS[5] idempotency hash of the drop
-- KEYS[6] ledger stream of the partition
-- ARGV[1] token: the epoch the caller was admitted in
-- ARGV[2] drop id
-- ARGV[3] prefix of the drop's hold keys (same slot as KEYS[1])
-- ARGV[4] events channel
-- ARGV[5] greatest sequence number
-- ARGV[6] ledger entries at which nothing more is held
-- ARGV[7…] for each person: user, size (empty: none), Idempotency-Key (empty: none),
--         1 if they have passed a challenge
--
-- Returns {now, deadline, version, start, sized, r1, r2, …}: times in Unix ms, the
-- drop's version after the batch, sized 1 or 0. Each r is the sequence number of
-- a new hold, or the description of the hold that the same key got before (a
-- string, drop:seq:user:created:deadline:size), or a refusal below.
-- The error HFFENCED says that nothing was done.
local DROP_NOT_FOUND, NOT_STARTED, ENDED, PAUSED = -1, -2, -3, -4
local OUT_OF_STOCK, LIMIT_REACHED, SIZE_REQUIRED, UNKNOWN_SIZE = -5, -6, -7, -8
local IDEMPOTENCY_CONFLICT, EXHAUSTED, OVERLOADED, CHALLENGE_REQUIRED = -9, -10, -11, -12

local meta, drop, deadlines, buyers, idem, ledger = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local token, id, hold_prefix, events = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local max_seq, max_ledger = tonumber(ARGV[5]), tonumber(ARGV[6])
local FIRST, STEP = 7, 4

-- The fence: epoch.lua says what it is.
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local m = redis.call('HMGET', meta, 'epoch', 'server', 'claim')
if not (token == m[1] and server == m[2]) and token ~= server .. ':' .. (m[3] or '') then
  return redis.error_reply('HFFENCED ' .. meta)
end

-- Everything is read with one HMGET, two more where the batch needs them: the
-- terms, the pool of a drop without sizes, then the pools of the sizes asked for.
local fields = { 'state', 'start', 'end', 'hold', 'limit', 'sized', 'version', 'seq', 'challenge', 't:', 'a:', 'h:', 's:' }
local at, keys = { [''] = 9 }, {}
for i = FIRST, #ARGV, STEP do
  local size, key = ARGV[i + 1], ARGV[i + 2]
  if not at[size] then
    local n = #fields
    at[size] = n
    fields[n + 1], fields[n + 2], fields[n + 3], fields[n + 4] = 't:' .. size, 'a:' .. size, 'h:' .. size, 's:' .. size
  end
  if key ~= '' then keys[#keys + 1] = key end
end
local d = redis.call('HMGET', drop, unpack(fields))
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local reply = { now, 0, 0, 0, 0 }
if not d[1] then
  for i = FIRST, #ARGV, STEP do reply[#reply + 1] = DROP_NOT_FOUND end
  return reply
end
local starts, ends, hold, limit = tonumber(d[2]), tonumber(d[3]), tonumber(d[4]), tonumber(d[5])
local sized, version, seq, challenge = d[6] == '1', tonumber(d[7]), tonumber(d[8]), d[9]
local deadline = now + hold
-- Numbers become text once: Redis and Lua take long for each.
local expires = string.format('%d', deadline)
local head, tail = id .. ':', string.format(':%d:%s:', now, expires)
reply[2], reply[3], reply[4], reply[5] = deadline, version, starts, sized and 1 or 0

local closed
if d[1] == 'paused' then closed = PAUSED
elseif d[1] ~= 'open' or (ends > 0 and now >= ends) then closed = ENDED
elseif now < starts then closed = NOT_STARTED
-- Every hold ends in the ledger: with nobody to take from it, begin no more.
elseif redis.call('XLEN', ledger) >= max_ledger then closed = OVERLOADED end

local stored = {} -- key → description of the hold it got, earlier or in this batch
if #keys > 0 then
  local found = redis.call('HMGET', idem, unpack(keys))
  for i, key in ipairs(keys) do stored[key] = found[i] or nil end
end

local taken = {} -- user → units held and bought
if limit > 0 and not closed then
  local users = {}
  for i = FIRST, #ARGV, STEP do users[#users + 1] = ARGV[i] end
  local counts = redis.call('HMGET', buyers, unpack(users))
  for i, user in ipairs(users) do taken[user] = tonumber(counts[i] or 0) end
end

local pools = {} -- size → {available, held, sold}, read on first use
local function pool_of(size)
  local pool = pools[size]
  if pool == nil then
    local n = at[size]
    if not d[n + 1] then
      pool = false
    else
      pool = { tonumber(d[n + 2]), tonumber(d[n + 3]), tonumber(d[n + 4]), taken = 0 }
      if pool[1] + pool[2] + pool[3] ~= tonumber(d[n + 1]) then
        return nil, redis.error_reply('HFCORRUPT ' .. drop .. ' size ' .. size .. ': available + held + sold ~= total')
      end
    end
    pools[size] = pool
  end
  return pool
end

local holds, members, idems, limits = {}, {}, {}, {}
local n = 0 -- new holds
for i = FIRST, #ARGV, STEP do
  local user, size, key = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local r
  local before = key ~= '' and stored[key]
  if before then
    local u, s = string.match(before, '^%d+:%d+:(%d+):%d+:%d+:(.*)$')
    r = (u == user and s == size) and before or IDEMPOTENCY_CONFLICT
  elseif closed then
    r = closed
  elseif sized and size == '' then
    r = SIZE_REQUIRED
  else
    local pool, corrupt = pool_of(sized and size or '')
    if corrupt then return corrupt end
    if not pool then
      r = UNKNOWN_SIZE
    elseif pool[1] <= 0 then
      r = OUT_OF_STOCK -- before the limit: whoever asks, all may learn that it is gone
    elseif limit > 0 and taken[user] >= limit then
      r = LIMIT_REACHED
    elseif seq >= max_seq then
      r = EXHAUSTED
    elseif challenge and ARGV[i + 3] ~= '1' then
      r = CHALLENGE_REQUIRED -- the last of all: a challenge is passed for one use
    else
      seq = seq + 1
      pool[1], pool[2], pool.taken = pool[1] - 1, pool[2] + 1, pool.taken + 1
      local text = string.format('%d', seq)
      local hold_of = head .. text .. ':' .. user .. tail .. size
      n = n + 1
      holds[n], members[2 * n - 1], members[2 * n] = hold_prefix .. text, expires, hold_of
      if limit > 0 then taken[user] = taken[user] + 1; limits[user] = taken[user] end
      if key ~= '' then
        stored[key] = hold_of
        idems[#idems + 1] = key
        idems[#idems + 1] = hold_of
      end
      r = seq
    end
  end
  reply[#reply + 1] = r
end
if n == 0 then return reply end

-- All checks are done: from here on only writes.
version = version + 1
reply[3] = version
local changes, event = { 'version', version, 'seq', seq }, {}
for size, pool in pairs(pools) do
  if pool and pool.taken > 0 then
    local c = #changes
    changes[c + 1], changes[c + 2], changes[c + 3], changes[c + 4] = 'a:' .. size, pool[1], 'h:' .. size, pool[2]
    event[size] = { pool[1], pool[2], pool[3] }
  end
end
-- The hold keys come first: they are in no KEYS, so in a slot that is just
-- moving to another server the first SET fails, while nothing is written yet.
local call = redis.call
for i = 1, n do call('SET', holds[i], members[2 * i], 'PXAT', expires) end
redis.call('HSET', drop, unpack(changes))
redis.call('ZADD', deadlines, unpack(members))
if limit > 0 then
  local counts = {}
  for user, count in pairs(limits) do counts[#counts + 1] = user; counts[#counts + 1] = count end
  redis.call('HSET', buyers, unpack(counts))
end
if #idems > 0 then redis.call('HSET', idem, unpack(idems)) end
redis.call('PUBLISH', events, cjson.encode({ d = tonumber(id), v = version, t = now, r = 'reserved', s = event }))
return reply
