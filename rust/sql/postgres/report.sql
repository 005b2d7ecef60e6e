-- report
-- Keep the progress of running jobs, each guarded by its lease.
-- A row that has a node is executing, by a constraint. To say so here would let the planner walk through all that is held
-- for each row, whenever its statistics were made while little was.
UPDATE zjobs.jobs AS job SET progress = report.progress::json
FROM unnest($2::bigint[], $3::integer[], $4::text[]) AS report (id, lease, progress)
WHERE job.id = report.id AND job.lease = report.lease
    AND job.node = (SELECT number FROM zjobs.nodes WHERE id = $1 AND standing IN (0, 1))
