-- heartbeat
-- A node's first beat.
INSERT INTO zjobs_nodes (id, standing, name, pid, process, started_at, beat_at, expires_at, queues)
VALUES (:id, 0, :name, :pid, :process, :now, :now, :expires_at, :queues)
