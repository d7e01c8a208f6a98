#!lua flags=allow-oom
-- Ends a rebuild: the partition is served in a new epoch, on this server.
--
-- KEYS[1] meta hash of the partition
-- ARGV[1] token: the rebuild's claim
-- ARGV[2] the epoch, greater than all before
--
-- Returns 1. The error HFFENCED says that nothing was done: the claim is lost.
local meta = KEYS[1]
local token, epoch = ARGV[1], ARGV[2]

local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local m = redis.call('HMGET', meta, 'epoch', 'claim')
if token ~= server .. ':' .. (m[2] or '') or tonumber(epoch) <= tonumber(m[1] or 0) then
  return redis.error_reply('HFFENCED ' .. meta)
end
redis.call('HSET', meta, 'epoch', epoch, 'server', server)
redis.call('HDEL', meta, 'claim', 'claimed')
return 1
