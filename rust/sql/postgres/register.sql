-- heartbeat
-- A node's first beat.
INSERT INTO zjobs.nodes (id, standing, name, pid, started_at, beat_at, expires_at, queues)
VALUES ($1, 0, $2, $3, zjobs.now(), zjobs.now(), zjobs.now() + $4::interval, $5::json)
