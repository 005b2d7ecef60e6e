-- tick
-- The row of one tick; nothing when it is there already.
INSERT INTO zjobs_ticks (name, at) VALUES (:name, :at) ON CONFLICT DO NOTHING
