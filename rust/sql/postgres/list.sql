-- list
-- Jobs that match, the oldest first.
SELECT
    job.id, job.state, job.queue, job.worker, job.args, job.priority, job.attempt, job.max_attempts, job.lease, holder.id AS node,
    job.scheduled_at, job.inserted_at, job.attempted_at, job.finished_at, job.timeout, job.cancel_requested, job.crashes,
    job.unique_key, job.tags, job.meta, job.errors, job.result, job.progress
FROM zjobs.jobs AS job LEFT JOIN zjobs.nodes AS holder ON holder.number = job.node
WHERE ($1::bigint[] IS NULL OR job.id = ANY ($1))
    AND job.id > coalesce($2::bigint, 0) AND job.id < coalesce($3::bigint, 9223372036854775807)
    AND job.state = ANY ($4::smallint[])
    AND ($5::text IS NULL OR job.queue = $5)
    AND ($6::text IS NULL OR job.worker = $6)
    AND ($7::text IS NULL OR job.unique_key = $7)
    AND ($8::text[] IS NULL OR job.tags @> $8)
ORDER BY job.id
LIMIT $9
