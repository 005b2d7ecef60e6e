-- tick
-- The row of one tick; nothing when it is there already.
INSERT INTO zjobs.ticks (name, at) VALUES ($1, $2) ON CONFLICT DO NOTHING
