-- ack: executing -> completed
-- End one attempt in the transaction of the handler, guarded by its lease.
UPDATE zjobs.jobs AS job
SET state = 2, node = NULL, acked = true, finished_at = greatest(zjobs.now(), job.attempted_at), live_key = NULL,
    result = coalesce($4::json, job.result)
WHERE job.id = $1::bigint AND job.lease = $2::integer AND NOT job.cancel_requested
    AND job.node = (SELECT number FROM zjobs.nodes WHERE id = $3::uuid AND standing IN (0, 1))
RETURNING job.id
