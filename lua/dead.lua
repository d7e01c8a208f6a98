#!lua flags=allow-oom
-- Keeps a record that cannot be persisted. A script, since XADD alone is refused
-- when memory is out, and the ledger behind the record would never drain.
--
-- KEYS[1] dead-letter stream of the partition
-- ARGV[1] id of the ledger entry it came from
-- ARGV[2] the record
-- ARGV[3] why it could not be persisted
--
-- Returns the id in the stream.
return redis.call('XADD', KEYS[1], '*', 'entry', ARGV[1], 'record', ARGV[2], 'reason', ARGV[3])
