-- ack: executing -> completed, retryable, discarded, cancelled, scheduled, available
-- End attempts, each guarded by its lease. A cancel that somebody asked for lets only a cancel through.
-- A row that has a node is executing, by a constraint. To say so here would let the planner walk through all that is held
-- for each row, whenever its statistics were made while little was.
UPDATE zjobs.jobs AS job
SET state = ack.state, attempt = ack.attempt, node = NULL, acked = true,
    scheduled_at = coalesce(zjobs.now() + ack.delay, job.scheduled_at),
    finished_at = CASE WHEN ack.state IN (2, 4, 5) THEN greatest(zjobs.now(), job.attempted_at) END,
    live_key = CASE WHEN ack.state IN (2, 4, 5) THEN NULL ELSE job.live_key END,
    errors = CASE
        WHEN ack.error IS NULL THEN job.errors
        WHEN jsonb_array_length(job.errors) >= $10 THEN job.errors - 0 || zjobs.stamped(ack.error)
        ELSE coalesce(job.errors, '[]') || zjobs.stamped(ack.error)
    END,
    result = coalesce(ack.result::json, job.result)
FROM unnest(
    $2::bigint[], $3::integer[], $4::smallint[], $5::integer[], $6::interval[], $7::boolean[], $8::text[], $9::text[]
) AS ack (id, lease, state, attempt, delay, cancels, error, result)
WHERE job.id = ack.id AND job.lease = ack.lease
    AND job.node = (SELECT number FROM zjobs.nodes WHERE id = $1 AND standing IN (0, 1))
    AND (ack.cancels OR NOT job.cancel_requested)
RETURNING job.id, job.queue, job.scheduled_at
