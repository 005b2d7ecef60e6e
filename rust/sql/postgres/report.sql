-- report
-- Keep the progress of running jobs, each guarded by its lease.
UPDATE zjobs.jobs AS job SET progress = report.progress::json
FROM unnest($2::bigint[], $3::integer[], $4::text[]) AS report (id, lease, progress)
WHERE job.id = report.id AND job.lease = report.lease AND job.state = 1
    AND job.node = (SELECT number FROM zjobs.nodes WHERE id = $1 AND standing IN (0, 1))
