-- nodes
-- The nodes that are not gone, in the order in which they registered.
SELECT id, name, pid, started_at, beat_at, expires_at, queues,
    (SELECT count(*) FROM zjobs.jobs WHERE state = 1 AND node = number)
FROM zjobs.nodes WHERE standing < 4 ORDER BY number
