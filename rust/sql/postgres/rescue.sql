-- rescue: executing -> available, discarded, cancelled
-- Take jobs back from nodes that are gone.
-- Between the look for orphans and its lock another may have rescued a job, and a living node claimed it: this statement sees
-- who has it now.
UPDATE zjobs.jobs AS job
SET state = rescue.state, attempt = rescue.attempt, crashes = rescue.crashes, node = NULL,
    errors = CASE
        WHEN jsonb_array_length(job.errors) >= $7 THEN job.errors - 0 || zjobs.stamped(rescue.error)
        ELSE coalesce(job.errors, '[]') || zjobs.stamped(rescue.error)
    END,
    finished_at = CASE WHEN rescue.state IN (2, 4, 5) THEN greatest(zjobs.now(), job.attempted_at) END,
    live_key = CASE WHEN rescue.state IN (2, 4, 5) THEN NULL ELSE job.live_key END
FROM unnest($1::bigint[], $2::integer[], $3::smallint[], $4::integer[], $5::smallint[], $6::text[])
    AS rescue (id, lease, state, attempt, crashes, error)
WHERE job.id = rescue.id AND job.lease = rescue.lease AND job.state = 1
    AND NOT EXISTS (SELECT FROM zjobs.nodes WHERE number = job.node AND standing IN (0, 1))
RETURNING
    job.id, job.state, job.queue, job.worker, job.args, job.priority, job.attempt, job.max_attempts, job.lease, NULL::uuid AS node,
    job.scheduled_at, job.inserted_at, job.attempted_at, job.finished_at, job.timeout, job.cancel_requested, job.crashes,
    job.unique_key, job.tags, job.meta, job.errors, job.result, job.progress
