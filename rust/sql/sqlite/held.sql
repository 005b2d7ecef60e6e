-- heartbeat
-- The jobs that are leased to a node.
SELECT id, lease, cancel_requested FROM zjobs_jobs WHERE state = 1 AND node = :node ORDER BY id
