-- save_cron
-- Declare a schedule, or change it and keep its pause and last tick.
INSERT INTO zjobs.crons (name, expression, timezone, worker, known_since)
VALUES ($1, $2, $3, $4, zjobs.now())
ON CONFLICT (name) DO UPDATE SET expression = $2, timezone = $3, worker = $4
