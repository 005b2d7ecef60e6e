-- rescue
-- Whether any node's lease has ended, or one that is dead has not been looked after.
SELECT EXISTS (SELECT FROM zjobs.nodes WHERE standing IN (0, 1) AND expires_at < zjobs.now()
            AND zjobs.heard_since(CASE standing WHEN 0 THEN $1::interval END) < zjobs.now() - (expires_at - beat_at))
    OR EXISTS (SELECT FROM zjobs.nodes WHERE standing IN (2, 3))
