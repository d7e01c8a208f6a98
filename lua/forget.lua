#!lua flags=allow-oom
-- Takes a drop's counters away that cannot be read, so that a rebuild can open
-- it anew and count its receipts and holds. Those stay.
--
-- KEYS[1] meta hash of the partition
-- KEYS[2] drop hash
-- ARGV[1] token: the rebuild's claim
--
-- Returns 1. The error HFFENCED says that nothing was done.
local meta, drop = KEYS[1], KEYS[2]
local token = ARGV[1]

-- The fence: epoch.lua says what it is.
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local m = redis.call('HMGET', meta, 'epoch', 'server', 'claim')
if not (token == m[1] and server == m[2]) and token ~= server .. ':' .. (m[3] or '') then
  return redis.error_reply('HFFENCED ' .. meta)
end

redis.call('DEL', drop)
return 1
