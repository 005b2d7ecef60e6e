-- rescue: executing -> available, discarded, cancelled
-- Take one job back from a node that is gone.
UPDATE zjobs_jobs
SET state = :state, attempt = :attempt, crashes = :crashes, errors = :errors, node = NULL, finished_at = :finished_at,
    live_key = iif(:finished_at IS NULL, live_key, NULL)
WHERE id = :id AND lease = :lease AND state = 1
