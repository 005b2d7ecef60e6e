"""Files of jobs that are damaged in every way, opened by zjobs and looked through by another SQLite."""
