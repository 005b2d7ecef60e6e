-- enqueue
-- A job that had a unique key within a time until now, and has ended meanwhile.
SELECT id FROM zjobs.jobs
WHERE state IN (2, 4, 5) AND finished_at >= zjobs.now() - $2::interval AND unique_key = $1
ORDER BY finished_at DESC
LIMIT 1
