-- depart, rescue, ack
-- Nodes that ended and hold nothing are gone; their row stays for a while, so that no incarnation comes back.
UPDATE zjobs_nodes SET standing = 4
WHERE standing IN (1, 2, 3) AND NOT EXISTS (SELECT 1 FROM zjobs_jobs WHERE state = 1 AND node = number)
