-- stage
-- When the next waiting job is due.
SELECT scheduled_at FROM zjobs_jobs WHERE state IN (3, 6) ORDER BY scheduled_at LIMIT 1
