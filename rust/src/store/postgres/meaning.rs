//! What an error of the server means to the caller, and whether the call may be made again.

use std::time::Duration;

use tokio_postgres::error::DbError;

use crate::error::Error;
use crate::store::postgres::address::Address;
use crate::store::postgres::session::Failed;

/// What is known of a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It failed, and would fail again.
    Final,
    /// Nothing was done, and another try may succeed.
    NotDone,
    /// The connection ended meanwhile: it may have been done.
    Unknown,
}

impl Fate {
    pub(super) fn of(error: &tokio_postgres::Error) -> Self {
        let Some(told) = error.as_db_error() else {
            // Not the server's word: the connection, or a value that could not be converted.
            return if is_connection(error) { Self::Unknown } else { Self::Final };
        };
        if refuses(told) {
            return Self::Final;
        }
        match told.code().code() {
            // serialization_failure, deadlock_detected
            "40001" | "40P01"
            // lock_not_available
            | "55P03"
            // too_many_connections, cannot_connect_now
            | "53300" | "57P03"
            // read_only_sql_transaction: a follower that once led, or one that recovers
            | "25006"
            // unique_violation: a key was taken between the look and the write
            | "23505"
            // invalid_sql_statement_name, duplicate_prepared_statement: something in between lends another session each time
            | "26000" | "42P05" => Self::NotDone,
            // admin_shutdown, crash_shutdown, database_dropped, idle_session_timeout; transaction_resolution_unknown;
            // idle_in_transaction_session_timeout
            "57P01" | "57P02" | "57P05" | "08007" | "25P03" => Self::Unknown,
            other if other.starts_with("08") => Self::Unknown,
            _ => Self::Final,
        }
    }

    /// Whether the server refused what is in a row, so that nothing was done.
    pub(super) fn is_refused(failed: &Failed) -> bool {
        matches!(failed, Failed::Postgres(error) if error.as_db_error().is_some_and(refuses))
    }

    /// Whether the values are at fault, and not the time.
    pub(super) fn is_bad_data(failed: &Failed) -> bool {
        let Failed::Postgres(error) = failed else { return false };
        error.as_db_error().map_or_else(|| !is_connection(error), refuses)
    }
}

/// Whether a row was refused for what is in it, or by a rule that somebody has added: a check, a reference, a trigger.
fn refuses(told: &DbError) -> bool {
    let class = told.code().code().get(..2).unwrap_or_default();
    match class {
        // unique_violation: in our own tables a key was taken between the look and the write.
        "23" => told.code().code() != "23505" || !told.table().is_some_and(|table| OURS.contains(&table)),
        // data_exception and with_check_option_violation; triggered_action_exception, triggered_data_change_violation,
        // external_routine_exception and its invocation, plpgsql_error
        "22" | "44" | "09" | "27" | "38" | "39" | "P0" => true,
        // connection_exception, invalid_transaction_state, transaction_rollback, insufficient_resources,
        // object_not_in_prerequisite_state, operator_intervention, system_error: the time is at fault
        "08" | "25" | "40" | "53" | "55" | "57" | "58" => false,
        _ => is_of_a_trigger(told),
    }
}

/// Whether the server was in a function of PL/pgSQL that takes no arguments: ours have some, and triggers have none.
fn is_of_a_trigger(told: &DbError) -> bool {
    told.where_().is_some_and(|place| place.contains("() line "))
}

const OURS: [&str; 5] = ["jobs", "nodes", "queues", "crons", "ticks"];

fn is_connection(error: &tokio_postgres::Error) -> bool {
    error.is_closed() || is_io(error)
}

fn is_io(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(one) = cause {
        if one.is::<std::io::Error>() {
            return true;
        }
        cause = one.source();
    }
    false
}

impl Failed {
    /// Whether the session is of no use any more: it was ended, leads to a follower, or does not have what was left in it.
    pub(super) fn ends_the_session(&self) -> bool {
        let Self::Postgres(error) = self else { return false };
        let ended = ["25006", "26000", "42P05", "57P01", "57P02", "57P03"];
        is_connection(error) || error.code().is_some_and(|code| ended.contains(&code.code()))
    }
}

impl Address {
    pub(super) fn late(&self, patience: Duration) -> Error {
        // Seconds as people write them.
        let seconds = (patience.as_secs_f64() * 10.0).round() / 10.0;
        Error::StoreUnavailable(format!("{self} gave no answer within {seconds} seconds"))
    }

    /// What an error means to the caller. Of the server's own words only the message is repeated: its details may hold
    /// what is in the rows.
    pub(super) fn error(&self, error: &tokio_postgres::Error) -> Error {
        let Some(db) = error.as_db_error() else {
            let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
            return Error::StoreUnavailable(format!("{self}: {cause}{}", hint(&cause)));
        };
        let (message, code) = (db.message(), db.code().code());
        if refuses(db) || code == "23505" {
            return Error::Internal(format!("{self} refused a value: {message} ({code}){}", way_out(db)));
        }
        let advice = match code {
            "28P01" | "28000" => {
                "look at the user and the password (the URL, PGPASSWORD or ~/.pgpass), and at pg_hba.conf"
            }
            "3D000" => "create it with `createdb`, or mend the URL",
            "53300" => "raise max_connections, run fewer processes (each has up to 5), or put PgBouncer in between",
            "57P03" => "it starts, stops or recovers: try again soon",
            "25006" => {
                "it is a follower or read-only: name the leader, or all hosts with target_session_attrs=read-write"
            }
            "55P03" => "somebody holds a lock on the tables: look at pg_stat_activity for a transaction left open",
            "57014" => "it took longer than a call may: look at pg_stat_activity, or narrow the question",
            "53100" => "free some space on the server; nothing that was told is lost",
            "42501" => "grant the role what it needs, see docs/postgresql.md",
            "42P01" | "42703" | "3F000" | "42883" => {
                return Error::SchemaMismatch(format!(
                    "{self} does not have the tables of this version of zjobs in its schema ({message}): run `zjobs \
                     migrate`"
                ));
            }
            _ => "",
        };
        let advice = if advice.is_empty() { String::new() } else { format!(": {advice}") };
        Error::StoreUnavailable(format!("{self}: {message} ({code}){advice}"))
    }
}

/// What whoever keeps the database can do about a refusal.
fn way_out(told: &DbError) -> &'static str {
    if told.code().code() == "23503" {
        ": where a table of yours refers to jobs, let it say ON DELETE CASCADE or SET NULL"
    } else if is_of_a_trigger(told) {
        ": a trigger on the tables of zjobs raised it, and has to let pass what zjobs writes"
    } else {
        ""
    }
}

fn hint(cause: &str) -> &'static str {
    if cause.contains("refused") || cause.contains("No such file") {
        ": start the server, or mend the host and port of the URL"
    } else if cause.contains("certificate") || cause.contains("UnknownIssuer") {
        ": look at sslmode, and at sslrootcert for the authority that signed the server's certificate"
    } else {
        ""
    }
}
