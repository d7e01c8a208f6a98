#!lua flags=allow-oom
-- Puts purchases back that the history has and this Redis lacks: receipt, sold
-- counter and the person's count. A unit comes from its own hold where that is still here,
-- else from what is available. That may go below zero, which sells nothing; the
-- rebuild then revokes holds. What is known already is left alone.
--
-- KEYS[1] meta hash of the partition
-- KEYS[2] drop hash
-- KEYS[3] deadlines zset of the partition
-- KEYS[4] buyers hash of the drop
-- KEYS[5] sold hash of the drop
-- ARGV[1] token: the rebuild's claim
-- ARGV[2] prefix of the drop's hold keys (same slot as KEYS[1])
-- ARGV[3…] for each purchase: its sequence number, its ledger record
--
-- Returns {restored, odd}: how many were put back, and how many contradict what
-- is here (cancelled here, or of a size that the drop does not have).
-- The error HFFENCED says that nothing was done.
local meta, drop, deadlines, buyers, sold = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local token, hold_prefix = ARGV[1], ARGV[2]
local FIRST = 3

-- The fence: epoch.lua says what it is.
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local m = redis.call('HMGET', meta, 'epoch', 'server', 'claim')
if not (token == m[1] and server == m[2]) and token ~= server .. ':' .. (m[3] or '') then
  return redis.error_reply('HFFENCED ' .. meta)
end

local d = redis.call('HMGET', drop, 'limit', 'sized', 'version')
if not d[1] then return { 0, 0 } end
local limit, sized, version = tonumber(d[1]), d[2] == '1', tonumber(d[3])

local seqs, hold_keys = {}, {}
for i = FIRST, #ARGV, 2 do
  seqs[#seqs + 1] = ARGV[i]
  hold_keys[#hold_keys + 1] = hold_prefix .. ARGV[i]
end
if #seqs == 0 then return { 0, 0 } end
local receipts = redis.call('HMGET', sold, unpack(seqs))
redis.call('EXISTS', unpack(hold_keys)) -- fails here, before any write, in a slot that is moving

local pools, odd = {}, 0
local members, ended_keys, receipts_new, users = {}, {}, {}, {}
for i = 1, #seqs do
  local record = ARGV[FIRST + 2 * i - 1]
  local hold, user, size = string.match(record, '^%d+:p:(%d+:%d+:(%d+):%d+:%d+:(.*))$')
  if receipts[i] then
    if not string.match(receipts[i], '^%d+:p:') then odd = odd + 1 end
  elseif not hold then
    odd = odd + 1
  else
    local name = sized and size or ''
    local pool = pools[name]
    if pool == nil then
      local c = redis.call('HMGET', drop, 'a:' .. name, 'h:' .. name, 's:' .. name)
      pool = c[1] and { tonumber(c[1]), tonumber(c[2]), tonumber(c[3]) }
      pools[name] = pool or false
    end
    if not pool then
      odd = odd + 1
    else
      if redis.call('ZSCORE', deadlines, hold) then
        pool[2] = pool[2] - 1
        members[#members + 1] = hold
        ended_keys[#ended_keys + 1] = hold_keys[i]
      else
        pool[1] = pool[1] - 1
        users[#users + 1] = user
      end
      pool[3] = pool[3] + 1
      receipts_new[#receipts_new + 1] = seqs[i]
      receipts_new[#receipts_new + 1] = record
    end
  end
end
if #receipts_new == 0 then return { 0, odd } end

-- All checks are done: from here on only writes.
local changes = { 'version', version + 1 }
for name, pool in pairs(pools) do
  if pool then
    local n = #changes
    changes[n + 1], changes[n + 2] = 'a:' .. name, pool[1]
    changes[n + 3], changes[n + 4] = 'h:' .. name, pool[2]
    changes[n + 5], changes[n + 6] = 's:' .. name, pool[3]
  end
end
redis.call('HSET', drop, unpack(changes))
redis.call('HSET', sold, unpack(receipts_new))
if #members > 0 then
  redis.call('ZREM', deadlines, unpack(members))
  redis.call('DEL', unpack(ended_keys))
end
if limit > 0 then
  for _, user in ipairs(users) do redis.call('HINCRBY', buyers, user, 1) end
end
return { #receipts_new / 2, odd }
