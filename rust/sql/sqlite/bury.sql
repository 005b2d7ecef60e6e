-- rescue
-- A node that was alive is dead; one that was leaving has been shut down. Unless its process has ended, it may have beaten since.
UPDATE zjobs_nodes SET standing = standing + 2
WHERE number = :number AND standing IN (0, 1) AND (:ended OR expires_at < :now)
