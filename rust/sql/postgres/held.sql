-- heartbeat
-- The jobs that are leased to a node, in no order: a session that may not sort would walk along all jobs for one.
SELECT id, lease, cancel_requested FROM zjobs.jobs WHERE state = 1 AND node = $1
