-- retry: completed, cancelled, discarded, retryable, scheduled -> available
-- Start jobs again. Their keys, where they have some, were found free in the same transaction.
UPDATE zjobs.jobs
SET state = 0, scheduled_at = zjobs.now(), max_attempts = greatest(max_attempts, attempt + 1), finished_at = NULL,
    acked = false, cancel_requested = false, crashes = 0, progress = NULL, result = NULL, live_key = unique_key
WHERE id = ANY ($1) AND state IN (2, 3, 4, 5, 6)
