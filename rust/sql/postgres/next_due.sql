-- stage
-- When the next waiting job is due, and what time it is.
SELECT (SELECT scheduled_at FROM zjobs.jobs WHERE state IN (3, 6) ORDER BY scheduled_at LIMIT 1), zjobs.now()
