-- rescue
-- Running jobs whose node is dead, was shut down, or is unknown (rows edited by hand); held until the transaction ends.
SELECT
    job.id, job.state, job.queue, job.worker, job.args, job.priority, job.attempt, job.max_attempts, job.lease, holder.id AS node,
    job.scheduled_at, job.inserted_at, job.attempted_at, job.finished_at, job.timeout, job.cancel_requested, job.crashes,
    job.unique_key, job.tags, job.meta, job.errors, job.result, job.progress,
    coalesce(holder.standing, 2::smallint) AS standing
FROM zjobs.jobs AS job LEFT JOIN zjobs.nodes AS holder ON holder.number = job.node
WHERE job.state = 1 AND coalesce(holder.standing, 2) IN (2, 3, 4)
ORDER BY job.node, job.id
LIMIT $1
FOR UPDATE OF job SKIP LOCKED
