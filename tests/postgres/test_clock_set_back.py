"""The server's wall clock is set back while jobs run."""

import psycopg

import zjobs


def set_back(connection: psycopg.Connection, schema: str) -> None:
    connection.execute(f"""
        CREATE OR REPLACE FUNCTION {schema}.now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
        RETURN statement_timestamp() - interval '1 hour'
    """)


def test_a_job_that_its_handler_completes_in_its_transaction_has_not_ended_before_it_began(database_url, postgres_url):
    jobs = zjobs.Supervisor(postgres_url)

    @jobs.worker
    def act(ctx: zjobs.JobContext) -> None:
        with psycopg.connect(database_url) as connection:
            set_back(connection, jobs.store.schema)
            ctx.complete(connection=connection)

    job = act.enqueue()
    with jobs:
        done = jobs.wait(job, 30)
    assert done.state is zjobs.JobState.COMPLETED
    assert done.attempted_at == done.completed_at
