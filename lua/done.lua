#!lua flags=allow-oom
-- Takes entries off the ledger that the history has: acknowledges and deletes
-- them, in the epoch in which they were committed. On another server the same
-- ids may be other entries.
--
-- KEYS[1] meta hash of the partition
-- KEYS[2] ledger stream of the partition
-- ARGV[1] token: the epoch the entries were committed in
-- ARGV[2] consumer group
-- ARGV[3…] ids
--
-- Returns how many were deleted. The error HFFENCED says that nothing was done.
local meta, ledger = KEYS[1], KEYS[2]
local token, group = ARGV[1], ARGV[2]
local FIRST = 3

-- The fence: epoch.lua says what it is.
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local m = redis.call('HMGET', meta, 'epoch', 'server', 'claim')
if not (token == m[1] and server == m[2]) and token ~= server .. ':' .. (m[3] or '') then
  return redis.error_reply('HFFENCED ' .. meta)
end

local ids = {}
for i = FIRST, #ARGV do ids[#ids + 1] = ARGV[i] end
redis.call('XACK', ledger, group, unpack(ids))
return redis.call('XDEL', ledger, unpack(ids))
