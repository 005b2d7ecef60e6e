-- retry
-- The live jobs that have these unique keys.
SELECT live_key, id FROM zjobs.jobs WHERE live_key = ANY ($1)
