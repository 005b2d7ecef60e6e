-- rescue
-- Nodes whose lease has ended are dead; those that were leaving have been shut down.
UPDATE zjobs.nodes SET standing = standing + 2
WHERE number IN (
    SELECT number FROM zjobs.nodes
    WHERE standing IN (0, 1) AND expires_at < zjobs.now()
    ORDER BY number
    FOR UPDATE SKIP LOCKED
)
