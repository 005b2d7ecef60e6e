-- rescue
-- Running jobs whose node is dead, was shut down, or is unknown (rows edited by hand).
SELECT zjobs_jobs.id, coalesce(standing, 2) FROM zjobs_jobs LEFT JOIN zjobs_nodes ON number = node
WHERE state = 1 AND coalesce(standing, 2) IN (2, 3, 4)
ORDER BY node, zjobs_jobs.id
LIMIT :limit
