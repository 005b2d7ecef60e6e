-- queues
-- What people have set for all queues.
SELECT name, paused, concurrency FROM zjobs_queues WHERE paused = 1 OR concurrency IS NOT NULL
