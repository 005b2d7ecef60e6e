-- rescue
-- Nodes whose lease has ended are dead; those that were leaving have been shut down.
-- While the server was down, or another one took its place, nobody could beat: afterwards each node has the time of a whole
-- lease to be heard. One that is leaving has said itself when it is gone.
UPDATE zjobs.nodes SET standing = standing + 2
WHERE number IN (
    SELECT number FROM zjobs.nodes
    WHERE standing IN (0, 1) AND expires_at < zjobs.now()
        AND zjobs.heard_since(CASE standing WHEN 0 THEN $1::interval END) < zjobs.now() - (expires_at - beat_at)
    ORDER BY number
    FOR UPDATE SKIP LOCKED
)
