-- retry
-- The live job that has a unique key.
SELECT id FROM zjobs.jobs WHERE live_key = $1
