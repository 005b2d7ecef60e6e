-- enqueue: new -> available, scheduled
-- Insert jobs without unique keys; their ids rise in the order of the lists.
INSERT INTO zjobs.jobs
    (state, queue, worker, args, priority, max_attempts, scheduled_at, inserted_at, timeout, tags, meta)
SELECT
    CASE WHEN due > now THEN 6 ELSE 0 END, queue, worker, args::json, priority, max_attempts, due, now, timeout,
    CASE WHEN tags IS NOT NULL THEN ARRAY(SELECT json_array_elements_text(tags::json)) END, meta::json
FROM (
    SELECT *, coalesce(at, now + coalesce(delay, interval '0')) AS due
    FROM (SELECT zjobs.now() AS now) AS clock,
        unnest(
            $1::text[], $2::text[], $3::text[], $4::integer[], $5::integer[], $6::timestamptz[], $7::interval[],
            $8::bigint[], $9::text[], $10::text[]
        ) WITH ORDINALITY
        AS new (queue, worker, args, priority, max_attempts, at, delay, timeout, tags, meta, place)
) AS new
ORDER BY place
RETURNING id, state, scheduled_at, inserted_at
