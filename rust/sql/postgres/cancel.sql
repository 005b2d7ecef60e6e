-- cancel: scheduled, available, retryable -> cancelled
-- Waiting jobs end.
UPDATE zjobs.jobs SET state = 5, finished_at = greatest(zjobs.now(), inserted_at, attempted_at), live_key = NULL
WHERE id = ANY ($1) AND state IN (0, 3, 6)
RETURNING id
