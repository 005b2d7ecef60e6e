-- rescue
-- Whether any node's lease has ended, or a job runs under a node that is dead or unknown.
SELECT EXISTS (SELECT FROM zjobs.nodes WHERE standing IN (0, 1) AND expires_at < zjobs.now()
            AND zjobs.up_since() < zjobs.now() - (expires_at - beat_at))
    OR EXISTS (
        SELECT FROM zjobs.jobs LEFT JOIN zjobs.nodes ON number = node
        WHERE state = 1 AND coalesce(standing, 2) IN (2, 3, 4)
    )
    OR EXISTS (SELECT FROM zjobs.nodes WHERE standing IN (2, 3))
