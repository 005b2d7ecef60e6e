-- prune
-- The oldest jobs of one final state that are past their retention, up to a limit.
WITH old AS MATERIALIZED (
    SELECT id FROM zjobs.jobs
    WHERE state = $1 AND state IN (2, 4, 5) AND finished_at <= zjobs.now() - $2::interval
    ORDER BY finished_at
    LIMIT $3
    FOR UPDATE SKIP LOCKED
)
DELETE FROM zjobs.jobs AS job USING old WHERE job.id = old.id
