-- stage: scheduled, retryable -> available
-- The jobs that are due, up to a limit, the earliest first.
WITH due AS MATERIALIZED (
    SELECT id FROM zjobs.jobs
    WHERE state IN (3, 6) AND scheduled_at <= zjobs.now()
    ORDER BY scheduled_at, id
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
UPDATE zjobs.jobs AS job SET state = 0 FROM due WHERE job.id = due.id
RETURNING job.queue
