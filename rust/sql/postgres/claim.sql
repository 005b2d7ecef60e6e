-- claim: available -> executing
-- Take the best due jobs of one queue, up to a limit, and lease them to one node that is alive.
-- A row that somebody made available with its attempts used up stays, and holds nobody up.
-- A job that ran, failed and came back since this statement began is stamped with its time, which is later than the statement's.
-- So is one that came before the clock was set back.
-- A lease number that cannot grow any more stays as it is.
-- Only what is behind one place of that order, as far as another.
-- Order must stay equal to index jobs_claim (queue, priority, scheduled_at, id).
WITH me AS MATERIALIZED (
    SELECT number, id FROM zjobs.nodes WHERE id = $3 AND standing = 0 AND expires_at >= zjobs.now()
), picked AS MATERIALIZED (
    SELECT id FROM zjobs.jobs
    WHERE state = 0 AND queue = $1 AND attempt < max_attempts
        AND (priority, scheduled_at, id) > ($4::integer, $5::timestamptz, $6::bigint)
        AND (priority, scheduled_at, id) <= ($7::integer, $8::timestamptz, $9::bigint)
        AND EXISTS (SELECT FROM me)
        AND NOT EXISTS (SELECT FROM zjobs.queues WHERE name = $1 AND paused)
    ORDER BY priority, scheduled_at, id
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
UPDATE zjobs.jobs AS job
SET state = 1, attempt = job.attempt + 1, lease = job.lease + (job.lease < 2147483647)::integer, node = me.number,
    attempted_at = greatest(zjobs.now(), job.scheduled_at, job.inserted_at), acked = false
FROM picked, me
WHERE job.id = picked.id
RETURNING
    job.id, job.state, job.queue, job.worker, job.args, job.priority, job.attempt, job.max_attempts, job.lease, me.id AS node,
    job.scheduled_at, job.inserted_at, job.attempted_at, job.finished_at, job.timeout, job.cancel_requested, job.crashes,
    job.unique_key, job.tags, job.meta, job.errors, job.result, job.progress
