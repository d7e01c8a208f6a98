#!lua flags=allow-oom
-- Gives one process the right to set a partition right, alone: the partition is
-- fenced for everybody else until admit.lua.
--
-- KEYS[1] meta hash of the partition
-- ARGV[1] server: the replication id that the caller has seen
-- ARGV[2] name of the claim, new for every rebuild
-- ARGV[3] after how many ms of silence another claim may take over
-- ARGV[4] 1 to renew a claim, which must be there still: if the data is lost
--         meanwhile, so is all that the rebuild has done
-- ARGV[5] the epoch that the caller has seen; another one was admitted since
--         where they differ, and the claim would come too late
--
-- Returns 1 claimed, 0 another rebuild is, or was, at it, -1 this is another server, or
-- the claim to renew is gone.
local meta = KEYS[1]
local server, claim, patience, renew, seen = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1', ARGV[5]

if string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') ~= server then return -1 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local m = redis.call('HMGET', meta, 'claim', 'claimed', 'epoch')
if renew and m[1] ~= claim then return -1 end
if (m[3] or '0') ~= seen then return 0 end
-- A claim of the future is of a server whose clock was ahead: nobody renews that.
if m[1] and m[1] ~= claim and math.abs(now - tonumber(m[2])) < patience then return 0 end
redis.call('HSET', meta, 'claim', claim, 'claimed', now)
redis.call('HDEL', meta, 'server')
return 1
