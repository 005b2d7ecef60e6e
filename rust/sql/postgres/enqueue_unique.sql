-- enqueue: new -> available, scheduled
-- Insert one job that has a unique key, or find the one that has it; *replaces* cancels that one.
SELECT id, conflict
FROM zjobs.enqueue(
    worker => $2, args => $3::json, queue => $1, priority => $4, max_attempts => $5, scheduled_at => $6, delay => $7,
    timeout_seconds => $8::bigint / 1000000000::double precision, unique_key => $11, replaces => $12,
    tags => CASE WHEN $9::text IS NOT NULL THEN ARRAY(SELECT json_array_elements_text($9::json)) END, meta => $10::json
)
