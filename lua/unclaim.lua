#!lua flags=allow-oom
-- Gives a claim up: the partition stays fenced, and the next rebuild may begin
-- at once.
--
-- KEYS[1] meta hash of the partition
-- ARGV[1] token: the rebuild's claim
--
-- Returns 1 given up, 0 it was lost already.
local meta = KEYS[1]
local token = ARGV[1]

local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if token ~= server .. ':' .. (redis.call('HGET', meta, 'claim') or '') then return 0 end
redis.call('HDEL', meta, 'claim', 'claimed')
return 1
