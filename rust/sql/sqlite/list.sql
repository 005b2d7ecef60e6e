-- list
-- Jobs that match, the oldest first.
SELECT
    id, state, queue, worker, args, priority, attempt, max_attempts, lease, node, scheduled_at, inserted_at,
    attempted_at, finished_at, timeout, cancel_requested, crashes, unique_key, tags, meta, errors, result, progress
FROM zjobs_jobs
WHERE id BETWEEN :first AND :last
    AND (:states >> state) & 1
    AND (:queue IS NULL OR queue = :queue)
    AND (:worker IS NULL OR worker = :worker)
    AND (:unique_key IS NULL OR unique_key = :unique_key)
    AND NOT EXISTS (
        SELECT 1 FROM json_each(:tags) AS wanted WHERE wanted.value NOT IN (SELECT value FROM json_each(tags))
    )
ORDER BY id
LIMIT :limit
