-- depart, rescue, ack
-- Nodes that ended and hold nothing are gone; their row stays for a while, so that no incarnation comes back.
UPDATE zjobs.nodes SET standing = 4
WHERE number IN (
    SELECT number FROM zjobs.nodes
    WHERE standing IN (1, 2, 3) AND NOT EXISTS (SELECT FROM zjobs.jobs WHERE state = 1 AND node = number)
    ORDER BY number
    FOR UPDATE SKIP LOCKED
)
