-- retry: completed, cancelled, discarded, retryable, scheduled -> available
-- Start a job again. Its key, when it has one, was found free in the same transaction.
UPDATE zjobs_jobs
SET state = 0, scheduled_at = :now, max_attempts = max(max_attempts, attempt + 1), finished_at = NULL, acked = 0,
    cancel_requested = 0, crashes = 0, progress = NULL, result = NULL, live_key = unique_key
WHERE id = :id AND state IN (2, 3, 4, 5, 6)
