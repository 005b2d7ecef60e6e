-- stage: scheduled, retryable -> available
-- The jobs that are due, up to a limit, the earliest first.
UPDATE zjobs_jobs SET state = 0
WHERE id IN (
    SELECT id FROM zjobs_jobs
    WHERE state IN (3, 6) AND scheduled_at <= :now
    ORDER BY scheduled_at, id
    LIMIT :limit
)
RETURNING queue
