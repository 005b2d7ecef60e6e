-- ack
-- Why acks did not fit.
SELECT job.id, job.state, job.lease, coalesce(holder.id = $2 AND holder.standing IN (0, 1), false), job.acked,
    job.cancel_requested
FROM zjobs.jobs AS job LEFT JOIN zjobs.nodes AS holder ON holder.number = job.node
WHERE job.id = ANY ($1)
