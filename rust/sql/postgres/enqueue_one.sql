-- enqueue: new -> available
-- Insert one job that is due at once and has nothing but its arguments: the plan of a list costs a lone call a tenth.
INSERT INTO zjobs.jobs (state, queue, worker, args, priority, max_attempts, scheduled_at, inserted_at, timeout)
VALUES (0, $1, $2, $3::text::json, $4, $5, zjobs.now(), zjobs.now(), $6)
RETURNING id, state, scheduled_at, inserted_at
