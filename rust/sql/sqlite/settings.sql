-- pause, resume, scale
-- What people have set for a queue.
INSERT INTO zjobs_queues (name, paused, concurrency) VALUES (:name, coalesce(:paused, 0), :concurrency)
ON CONFLICT (name) DO UPDATE SET
    paused = coalesce(:paused, paused),
    concurrency = iif(:scales, :concurrency, concurrency)
