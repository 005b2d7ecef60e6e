-- enqueue
-- The live job that has a unique key.
SELECT id FROM zjobs_jobs WHERE live_key = :key
