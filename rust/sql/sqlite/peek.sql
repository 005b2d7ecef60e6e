-- claim
-- Whether a queue has anything to claim.
SELECT EXISTS (SELECT 1 FROM zjobs_jobs WHERE state = 0 AND queue = :queue AND attempt < max_attempts)
    AND NOT EXISTS (SELECT 1 FROM zjobs_queues WHERE name = :queue AND paused = 1)
