-- save_cron
-- Declare a schedule, or change it and keep its pause and last tick.
INSERT INTO zjobs_crons (name, expression, timezone, worker, known_since)
VALUES (:name, :expression, :timezone, :worker, :now)
ON CONFLICT (name) DO UPDATE SET expression = :expression, timezone = :timezone, worker = :worker
