-- prune
-- The oldest jobs of one final state that are past their retention, up to a limit.
DELETE FROM zjobs_jobs
WHERE id IN (
    SELECT id FROM zjobs_jobs
    WHERE state IN (2, 4, 5) AND state = :state AND finished_at <= :horizon
    ORDER BY finished_at
    LIMIT :limit
)
