-- get
-- The incarnation behind the small number of a node.
SELECT id FROM zjobs_nodes WHERE number = :number
