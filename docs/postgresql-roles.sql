-- Four roles for jobs in PostgreSQL, each with what it needs and no more. Run it as whoever owns the database, with psql,
-- after `zjobs migrate`; once more after a later one. Then let users in: GRANT zjobs_work TO app_worker.
--
-- zjobs_migrate  makes and changes the tables
-- zjobs_work     runs jobs, enqueues them, and does what people do by hand
-- zjobs_enqueue  enqueues; sees no arguments, changes no job
-- zjobs_read     looks

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['zjobs_migrate', 'zjobs_work', 'zjobs_enqueue', 'zjobs_read'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
    EXECUTE format('GRANT CREATE ON DATABASE %I TO zjobs_migrate', current_database());
END
$$;

GRANT ALL ON SCHEMA zjobs TO zjobs_migrate;
GRANT ALL ON ALL TABLES IN SCHEMA zjobs TO zjobs_migrate;

GRANT USAGE ON SCHEMA zjobs TO zjobs_work, zjobs_enqueue, zjobs_read;
GRANT SELECT ON zjobs.migrations TO zjobs_work, zjobs_enqueue, zjobs_read;

GRANT SELECT, INSERT, UPDATE, DELETE ON zjobs.jobs, zjobs.nodes, zjobs.queues, zjobs.crons, zjobs.ticks TO zjobs_work;

GRANT SELECT ON zjobs.jobs, zjobs.nodes, zjobs.queues, zjobs.crons, zjobs.ticks TO zjobs_read;

-- New rows and nothing of the old ones; a unique key is looked for by the functions, with the rights of their owner.
GRANT INSERT ON zjobs.jobs TO zjobs_enqueue;
GRANT SELECT (id, state, scheduled_at, inserted_at) ON zjobs.jobs TO zjobs_enqueue;
ALTER FUNCTION zjobs.enqueue SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE EXECUTE ON FUNCTION zjobs.enqueue, zjobs.enqueue_many FROM PUBLIC;
GRANT EXECUTE ON FUNCTION zjobs.enqueue, zjobs.enqueue_many TO zjobs_work, zjobs_enqueue;
