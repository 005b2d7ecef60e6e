-- heartbeat
-- The jobs that are leased to a node.
SELECT id, lease, cancel_requested FROM zjobs.jobs WHERE state = 1 AND node = $1 ORDER BY id
