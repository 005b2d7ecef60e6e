-- ack: executing -> completed, retryable, discarded, cancelled, scheduled, available
-- End one attempt, guarded by its lease. A cancel that somebody asked for lets only a cancel through.
-- Somebody may have lowered the number of attempts meanwhile.
UPDATE zjobs_jobs
SET state = :state, attempt = min(:attempt, max_attempts), node = NULL, acked = 1,
    scheduled_at = coalesce(:scheduled_at, scheduled_at),
    finished_at = :finished_at,
    live_key = iif(:finished_at IS NULL, live_key, NULL),
    errors = coalesce(:errors, errors),
    result = coalesce(:result, result)
WHERE id = :id AND lease = :lease AND node = :node AND state = 1 AND (cancel_requested = 0 OR :cancels)
