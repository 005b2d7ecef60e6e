-- rescue
-- Nodes whose lease has ended are dead; those that were leaving have been shut down.
-- While the server was down nobody could beat: afterwards each node has the time of a whole lease to come back.
UPDATE zjobs.nodes SET standing = standing + 2
WHERE number IN (
    SELECT number FROM zjobs.nodes
    WHERE standing IN (0, 1) AND expires_at < zjobs.now()
        AND zjobs.up_since() < zjobs.now() - (expires_at - beat_at)
    ORDER BY number
    FOR UPDATE SKIP LOCKED
)
