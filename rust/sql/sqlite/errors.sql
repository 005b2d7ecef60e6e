-- ack
-- The errors that a job has so far.
SELECT errors FROM zjobs_jobs WHERE id = :id
