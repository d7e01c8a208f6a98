#!lua flags=no-writes
-- Says in which epoch a partition stands, and on which server.
--
-- The fence. A partition is served in an epoch, on the one server that was
-- compared with the history when the epoch was admitted (admit.lua). A server
-- is known by its replication id, which is new after every restart and every
-- promotion. So each script that changes something begins by comparing: the
-- caller's epoch must be the admitted one, and the server that the script runs
-- on must be the one it was admitted on. After a restart, a promotion, a move of the
-- slot or the loss of the data, the first call already finds the partition
-- fenced, whoever makes it. Only a rebuild (claim.lua) goes on then.
--
-- KEYS[1] meta hash of the partition
--
-- Returns {epoch, server, previous, admitted}: the epoch admitted last (0:
-- none is known), the replication id of this server, the one it had before
-- (zeros: none; else it was promoted, or restarted as a primary of replicas),
-- and 1 if the epoch was admitted on this very server.
local meta = KEYS[1]

local info = redis.call('INFO', 'replication')
local server = string.match(info, 'master_replid:(%x+)')
local m = redis.call('HMGET', meta, 'epoch', 'server')
return { tonumber(m[1] or 0), server, string.match(info, 'master_replid2:(%x+)') or '', m[2] == server and 1 or 0 }
