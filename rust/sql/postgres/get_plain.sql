-- get
-- The jobs with these ids, in types that every driver gives alike.
-- Numbers and text; times are microseconds since 1970.
SELECT
    job.id, job.state, job.queue, job.worker, job.args::text, job.priority, job.attempt, job.max_attempts, job.lease,
    replace(holder.id::text, '-', '') AS node,
    (extract(epoch FROM job.scheduled_at) * 1000000)::bigint AS scheduled_at,
    (extract(epoch FROM job.inserted_at) * 1000000)::bigint AS inserted_at,
    (extract(epoch FROM job.attempted_at) * 1000000)::bigint AS attempted_at,
    (extract(epoch FROM job.finished_at) * 1000000)::bigint AS finished_at,
    job.timeout, job.cancel_requested, job.crashes, job.unique_key, to_json(job.tags)::text AS tags, job.meta::text,
    job.errors::text, job.result::text, job.progress::text
FROM zjobs.jobs AS job LEFT JOIN zjobs.nodes AS holder ON holder.number = job.node
WHERE job.id = ANY ($1::bigint[])
