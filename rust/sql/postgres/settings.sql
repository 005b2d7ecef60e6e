-- pause, resume, scale
-- What people have set for a queue.
INSERT INTO zjobs.queues AS queue (name, paused, concurrency) VALUES ($1, coalesce($2, false), $3)
ON CONFLICT (name) DO UPDATE SET
    paused = coalesce($2, queue.paused),
    concurrency = CASE WHEN $4 THEN $3 ELSE queue.concurrency END
