-- heartbeat
-- What became of the jobs that a node says it has. By number alone: an index of the running ones would be walked along.
SELECT id, lease, cancel_requested, state, node FROM zjobs.jobs WHERE id = ANY ($1::bigint[])
