-- enqueue: new -> available, scheduled
-- Insert one job. Its unique key, when it has one, was found free in the same transaction; the index makes sure.
INSERT INTO zjobs_jobs
    (state, queue, worker, args, priority, max_attempts, scheduled_at, inserted_at, timeout, unique_key, live_key, tags, meta)
VALUES
    (:state, :queue, :worker, :args, :priority, :max_attempts, :scheduled_at, :now, :timeout, :unique_key, :unique_key,
    :tags, :meta)
