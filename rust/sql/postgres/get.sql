-- get
-- The jobs with these ids.
SELECT
    job.id, job.state, job.queue, job.worker, job.args, job.priority, job.attempt, job.max_attempts, job.lease, holder.id AS node,
    job.scheduled_at, job.inserted_at, job.attempted_at, job.finished_at, job.timeout, job.cancel_requested, job.crashes,
    job.unique_key, job.tags, job.meta, job.errors, job.result, job.progress
FROM zjobs.jobs AS job LEFT JOIN zjobs.nodes AS holder ON holder.number = job.node
WHERE job.id = ANY ($1)
ORDER BY job.id
