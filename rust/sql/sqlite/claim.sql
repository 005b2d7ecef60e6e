-- claim: available -> executing
-- Take the best due jobs of one queue, up to a limit, and lease them to one node.
-- A row that somebody made available with its attempts used up stays, and holds nobody up.
-- A lease number that cannot grow any more stays as it is.
-- Order must stay equal to index zjobs_jobs_claim (queue, priority, scheduled_at, id).
UPDATE zjobs_jobs
SET state = 1, attempt = attempt + 1, lease = min(lease + 1, 4294967295), node = :node, attempted_at = :now, acked = 0
WHERE id IN (
    SELECT id FROM zjobs_jobs
    WHERE state = 0 AND queue = :queue AND attempt < max_attempts
    ORDER BY priority, scheduled_at, id
    LIMIT :limit
)
RETURNING
    id, state, queue, worker, args, priority, attempt, max_attempts, lease, node, scheduled_at, inserted_at,
    attempted_at, finished_at, timeout, cancel_requested, crashes, unique_key, tags, meta, errors, result, progress
