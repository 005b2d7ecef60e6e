-- nodes
-- The nodes that are not gone, in the order in which they registered.
SELECT number, id, standing, name, pid, process, started_at, beat_at, expires_at, queues,
    (SELECT count(*) FROM zjobs_jobs WHERE state = 1 AND node = number)
FROM zjobs_nodes WHERE standing < 4 ORDER BY number
