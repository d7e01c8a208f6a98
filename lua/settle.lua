#!lua flags=allow-oom
-- Ends live holds of one drop as their people want: a purchase sells the unit,
-- a cancel gives it back. What was settled so before gets the same receipt
-- again. It may run when memory is out: holds must end also then.
--
-- KEYS[1] meta hash of the partition
-- KEYS[2] drop hash
-- KEYS[3] deadlines zset of the partition
-- KEYS[4] buyers hash of the drop
-- KEYS[5] sold hash of the drop: receipts of purchases and cancels
-- KEYS[6] ledger stream of the partition
-- ARGV[1] token: the epoch the caller was admitted in, or a rebuild's claim
-- ARGV[2] kind: p (purchase) or c (cancel)
-- ARGV[3] drop id
-- ARGV[4] prefix of the drop's hold keys (same slot as KEYS[1])
-- ARGV[5] events channel
-- ARGV[6…] for each hold: sequence number, owner (0: anyone)
--
-- Returns {code, record, code, record, …}, one pair a sequence number. A
-- record is a ledger record (ended:kind:drop:seq:user:created:deadline:size),
-- empty where the code is negative. To all but its owner a hold was never issued;
-- of one that has lapsed the owner may be unknown here, and nothing is said of him.
-- The error HFFENCED says that nothing was done.
local SETTLED, SETTLED_BEFORE, ENDED_OTHERWISE = 1, 2, 3
local LAPSED, NEVER_ISSUED, DROP_NOT_FOUND, CORRUPT = -1, -2, -3, -4

local meta, drop, deadlines, buyers, sold, ledger = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local token, kind, id, hold_prefix, events = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local FIRST, STEP = 6, 2

-- The fence: epoch.lua says what it is.
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local m = redis.call('HMGET', meta, 'epoch', 'server', 'claim')
if not (token == m[1] and server == m[2]) and token ~= server .. ':' .. (m[3] or '') then
  return redis.error_reply('HFFENCED ' .. meta)
end

local reply = {}
local d = redis.call('HMGET', drop, 'limit', 'sized', 'version', 'seq')
if not d[1] then
  for _ = FIRST, #ARGV, STEP do reply[#reply + 1] = DROP_NOT_FOUND; reply[#reply + 1] = '' end
  return reply
end
local limit, sized, version, last_seq = tonumber(d[1]), d[2] == '1', tonumber(d[3]), tonumber(d[4])

local seqs, owners, hold_keys = {}, {}, {}
for i = FIRST, #ARGV, STEP do
  seqs[#seqs + 1], owners[#owners + 1] = ARGV[i], ARGV[i + 1]
  hold_keys[#hold_keys + 1] = hold_prefix .. ARGV[i]
end
local live = redis.call('MGET', unpack(hold_keys))
local receipts = redis.call('HMGET', sold, unpack(seqs))
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- The pools that the live holds touch, in one read.
local sizes, at, fields, holds, known, others = {}, {}, {}, {}, {}, {}
for i = 1, #seqs do
  if live[i] then
    local user, deadline, size = string.match(live[i], '^%d+:%d+:(%d+):%d+:(%d+):(.*)$')
    if owners[i] ~= '0' and owners[i] ~= user then
      others[i] = true
    elseif tonumber(deadline) > now then
      local pool = sized and size or ''
      known[#known + 1] = live[i]
      holds[i] = { user = user, pool = pool, known = #known }
      if not at[pool] then
        at[pool] = #fields
        sizes[#sizes + 1] = pool
        local n = #fields
        fields[n + 1], fields[n + 2], fields[n + 3], fields[n + 4] = 't:' .. pool, 'a:' .. pool, 'h:' .. pool, 's:' .. pool
      end
    end
  end
end
local pools, held = {}, {} -- held: what the deadlines know of the live holds
if #fields > 0 then
  held = redis.call('ZMSCORE', deadlines, unpack(known))
  local c = redis.call('HMGET', drop, unpack(fields))
  for _, size in ipairs(sizes) do
    local n = at[size]
    local pool = { tonumber(c[n + 2]), tonumber(c[n + 3]), tonumber(c[n + 4]) }
    if not pool[1] or pool[1] + pool[2] + pool[3] ~= tonumber(c[n + 1]) then
      return redis.error_reply('HFCORRUPT ' .. drop .. ' size ' .. size .. ': available + held + sold ~= total')
    end
    pools[size] = pool
  end
end

local head = string.format('%d:%s:', now, kind)
local settled = {} -- seq → record, for a sequence number given twice
local members, ended_keys, records, receipts_new, buys, given_back = {}, {}, {}, {}, {}, {}
for i = 1, #seqs do
  local seq, code, record = seqs[i], nil, ''
  local before = receipts[i] or settled[seq]
  if before and owners[i] ~= '0' and owners[i] ~= string.match(before, '^%d+:%a:%d+:%d+:(%d+):') then
    others[i] = true
  end
  if others[i] then
    code = NEVER_ISSUED
  elseif before then
    record = before
    code = string.match(before, '^%d+:(%a):') == kind and SETTLED_BEFORE or ENDED_OTHERWISE
  elseif holds[i] then
    local hold = holds[i]
    local pool = pools[hold.pool]
    if not held[hold.known] or pool[2] < 1 then
      code = CORRUPT -- its key lives but it is not held: this one alone is refused
    else
      pool[2] = pool[2] - 1
      if kind == 'p' then
        pool[3] = pool[3] + 1
        buys[#buys + 1] = { tonumber(seq), hold.user } -- as text: cjson writes 14 digits
      else
        pool[1] = pool[1] + 1
        given_back[#given_back + 1] = hold.user
      end
      record = head .. live[i]
      code = SETTLED
      settled[seq] = record
      members[#members + 1] = live[i]
      ended_keys[#ended_keys + 1] = hold_keys[i]
      receipts_new[#receipts_new + 1] = seq
      receipts_new[#receipts_new + 1] = record
      records[#records + 1] = #records / 2 + 1
      records[#records + 1] = record
    end
  elseif tonumber(seq) < 1 or tonumber(seq) > last_seq then
    code = NEVER_ISSUED
  else
    code = LAPSED
  end
  reply[#reply + 1] = code
  reply[#reply + 1] = record
end
if #members == 0 then return reply end
local counts = {} -- user → units held and bought after this, of those who give back
if limit > 0 and #given_back > 0 then
  local before = redis.call('HMGET', buyers, unpack(given_back))
  for i, user in ipairs(given_back) do counts[user] = tonumber(before[i] or 0) end
  for _, user in ipairs(given_back) do counts[user] = counts[user] - 1 end
end

-- All checks are done: from here on only writes.
local changes, event = { 'version', version + 1 }, {}
for size, pool in pairs(pools) do
  local n = #changes
  changes[n + 1], changes[n + 2] = 'a:' .. size, pool[1]
  changes[n + 3], changes[n + 4] = 'h:' .. size, pool[2]
  changes[n + 5], changes[n + 6] = 's:' .. size, pool[3]
  event[size] = pool
end
redis.call('HSET', drop, unpack(changes))
redis.call('ZREM', deadlines, unpack(members))
redis.call('DEL', unpack(ended_keys))
redis.call('HSET', sold, unpack(receipts_new))
redis.call('XADD', ledger, '*', unpack(records))
local kept, gone = {}, {}
for user, count in pairs(counts) do
  if count > 0 then kept[#kept + 1] = user; kept[#kept + 1] = count else gone[#gone + 1] = user end
end
if #kept > 0 then redis.call('HSET', buyers, unpack(kept)) end
if #gone > 0 then redis.call('HDEL', buyers, unpack(gone)) end
redis.call('PUBLISH', events, cjson.encode({
  d = tonumber(id), v = version + 1, t = now, r = kind == 'p' and 'purchased' or 'cancelled', s = event,
  p = #buys > 0 and buys or nil,
}))
return reply
