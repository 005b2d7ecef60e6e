-- enqueue: new -> available, scheduled
-- Insert jobs given as one JSON list, in whatever transaction the connection is in.
-- Nothing in a database that is not the one of the store, which is known by when it got its tables.
SELECT made.id, made.conflict
FROM zjobs.enqueue_many($1::json) AS made
WHERE EXISTS (
    SELECT FROM zjobs.migrations
    WHERE version = 1 AND (extract(epoch FROM applied_at) * 1000000)::bigint = $2::bigint
)
