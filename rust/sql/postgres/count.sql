-- count
-- How many jobs match.
SELECT count(*)
FROM zjobs.jobs AS job
WHERE ($1::bigint[] IS NULL OR job.id = ANY ($1))
    AND job.id > coalesce($2::bigint, 0) AND job.id < coalesce($3::bigint, 9223372036854775807)
    AND job.state = ANY ($4::smallint[])
    AND ($5::text IS NULL OR job.queue = $5)
    AND ($6::text IS NULL OR job.worker = $6)
    AND ($7::text IS NULL OR job.unique_key = $7)
    AND ($8::text[] IS NULL OR job.tags @> $8)
