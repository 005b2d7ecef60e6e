//! The statements: each file is used, says what it does, prepares on a fresh schema, and moves jobs only as the state
//! table allows.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use zjobs_engine::store::postgres::{COLUMNS, PostgresStore};
use zjobs_engine::store::sql::postgres::ALL;

use crate::postgres::fixture::{Beside, config, fresh_schema};
use crate::sqlite::sql::{check_headers, check_moves};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rust/sql/postgres")
}

/// Runs something on a fresh schema that is gone afterwards.
fn on_a_fresh_schema(look: impl FnOnce(&Beside, &str)) {
    let (schema, beside) = (fresh_schema(), Beside::new());
    drop(PostgresStore::open(config(&schema)).unwrap());
    look(&beside, &schema);
    beside.run(&format!("SET client_min_messages = error; DROP SCHEMA {schema} CASCADE"));
}

#[test]
fn every_file_is_in_the_table_of_queries() {
    let files: BTreeSet<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".sql").map(str::to_owned))
        .filter(|name| name != "schema")
        .collect();
    let known: BTreeSet<_> = ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(files, known);
}

#[test]
fn every_statement_prepares_on_a_fresh_schema_and_those_that_give_jobs_give_all_columns_in_order() {
    on_a_fresh_schema(|beside, schema| {
        let mut seen = 0;
        for (name, sql) in ALL {
            let statement = beside.prepare(&sql.replace("zjobs.", &format!("{schema}.")));
            let statement = statement.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            let columns: Vec<_> = statement.columns().iter().map(tokio_postgres::Column::name).collect();
            if columns.len() >= COLUMNS.len() {
                assert_eq!(columns[..COLUMNS.len()], COLUMNS, "{name}");
                seen += 1;
            }
        }
        assert_eq!(seen, 7, "claim, both gets, both lists, orphans and rescue");
    });
}

#[test]
fn every_move_of_a_statement_is_in_the_state_table() {
    check_moves(ALL);
}

#[test]
fn every_statement_says_what_it_does() {
    check_headers(ALL);
}

#[test]
fn every_table_of_a_statement_is_named_with_its_schema() {
    for (name, sql) in ALL {
        for place in ["FROM ", "JOIN ", "UPDATE ", "INTO "] {
            for found in sql.replace("epoch FROM", "epoch").split(place).skip(1) {
                let word: String = found.chars().take_while(|c| !c.is_whitespace() && *c != ')' && *c != ',').collect();
                let ours = word.starts_with("zjobs.") || word.starts_with("unnest(") || word.starts_with('(');
                let local = ["me", "due", "old", "picked"].contains(&word.as_str());
                let clause = ["SKIP", "SET"].contains(&word.as_str()) || word.starts_with("OF");
                assert!(ours || local || clause, "{name}: {place}{word}");
            }
        }
    }
}

#[test]
fn the_golden_schema_is_where_the_migrations_lead() {
    on_a_fresh_schema(|beside, schema| {
        let columns = beside.texts(&format!(
            "SELECT format('%s.%s %s%s%s', table_name, column_name, data_type, CASE is_nullable WHEN 'NO' THEN ' NOT NULL' END,
                ' DEFAULT ' || column_default)
             FROM information_schema.columns WHERE table_schema = '{schema}'
             ORDER BY table_name, ordinal_position"
        ));
        let constraints = beside.texts(&format!(
            "SELECT format('%s %s: %s', conrelid::regclass::text, conname, pg_get_constraintdef(oid)) FROM pg_constraint
             WHERE connamespace = '{schema}'::regnamespace AND contype <> 'n' ORDER BY 1"
        ));
        let indexes =
            beside.texts(&format!("SELECT indexdef FROM pg_indexes WHERE schemaname = '{schema}' ORDER BY 1"));
        let functions = beside.texts(&format!(
            "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = '{schema}'::regnamespace ORDER BY proname"
        ));
        let storage = beside.texts(&format!(
            "SELECT format('%s: %s', relname, array_to_string(reloptions, ', ')) FROM pg_class
             WHERE relnamespace = '{schema}'::regnamespace AND reloptions IS NOT NULL ORDER BY 1"
        ));
        let parts = [columns, constraints, indexes, functions, storage].map(|part| part.join("\n"));
        let found = format!(
            "-- Where the migrations lead; written by the test that compares it.\n\n{}\n",
            parts.join("\n\n").replace(&format!("\"{schema}\"."), "zjobs.").replace(&format!("{schema}."), "zjobs.")
        );
        let golden = folder().join("schema.sql");
        if std::env::var_os("ZJOBS_WRITE_GOLDEN").is_some() {
            fs::write(&golden, &found).unwrap();
        }
        let kept = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(kept, found, "run it with ZJOBS_WRITE_GOLDEN=1 after a migration");
    });
}
