-- queues
-- What people have set for all queues.
SELECT name, paused, concurrency FROM zjobs.queues WHERE paused OR concurrency IS NOT NULL
