-- rescue
-- Whether a job runs under a node that is gone or unknown (a claim that came late, rows edited by hand).
SELECT EXISTS (
    SELECT FROM zjobs.jobs LEFT JOIN zjobs.nodes ON number = node
    WHERE state = 1 AND coalesce(standing, 2) IN (2, 3, 4)
)
