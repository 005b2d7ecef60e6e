-- get
-- One job.
SELECT
    id, state, queue, worker, args, priority, attempt, max_attempts, lease, node, scheduled_at, inserted_at,
    attempted_at, finished_at, timeout, cancel_requested, crashes, unique_key, tags, meta, errors, result, progress
FROM zjobs_jobs WHERE id = :id
