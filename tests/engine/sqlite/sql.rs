//! The statements: each file is used, says what it does, prepares on a fresh schema, and moves jobs only as the state
//! table allows.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rusqlite::Connection;
use zjobs_engine::state::{State, TRANSITIONS};
use zjobs_engine::store::sql::sqlite::{ALL, MIGRATIONS};
use zjobs_engine::store::sqlite::{COLUMNS, OLDEST};

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rust/sql/sqlite")
}

fn fresh() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    for (_, sql) in MIGRATIONS {
        connection.execute_batch(sql).unwrap();
    }
    connection
}

#[test]
fn the_library_is_new_enough_to_write() {
    assert!(rusqlite::version_number() >= OLDEST, "{}", rusqlite::version());
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
fn every_statement_prepares_on_a_fresh_schema() {
    let connection = fresh();
    for (name, sql) in ALL {
        let prepared = connection.prepare(sql);
        assert!(prepared.is_ok(), "{name}: {:?}", prepared.err());
    }
}

#[test]
fn statements_that_give_jobs_give_all_columns_in_order() {
    let connection = fresh();
    let mut seen = 0;
    for (name, sql) in ALL {
        let statement = connection.prepare(sql).unwrap();
        if statement.column_count() == COLUMNS.len() {
            assert_eq!(statement.column_names().collect::<Vec<_>>(), COLUMNS, "{name}");
            seen += 1;
        }
    }
    assert_eq!(seen, 4, "claim, get and both lists");
}

/// `-- claim: available -> executing`: the moves that the first line of a statement names.
fn moves(sql: &str) -> Vec<(State, State)> {
    let Some((_, moves)) = sql.lines().next().unwrap().split_once(": ") else { return Vec::new() };
    let (from, to) = moves.split_once(" -> ").unwrap();
    let states = |list: &str| -> Vec<State> {
        list.split(", ").map(|word| State::ALL.into_iter().find(|state| state.to_string() == word).unwrap()).collect()
    };
    if from == "new" {
        return Vec::new();
    }
    states(from).into_iter().flat_map(|from| states(to).into_iter().map(move |to| (from, to))).collect()
}

/// The moves that statements name are in the table.
pub fn check_moves(all: &[(&str, &str)]) {
    let mut seen = 0;
    for (name, sql) in all {
        for (from, to) in moves(sql) {
            assert!(TRANSITIONS.iter().any(|t| t.from == from && t.to == to), "{name}: {from} -> {to}");
            seen += 1;
        }
    }
    assert!(seen > 15, "{seen} moves seen");
}

#[test]
fn every_move_of_a_statement_is_in_the_state_table() {
    check_moves(ALL);
}

#[test]
fn every_statement_says_what_it_does() {
    check_headers(ALL);
}

pub fn check_headers(all: &[(&str, &str)]) {
    for (name, sql) in all {
        let header: Vec<_> = sql.lines().take_while(|line| line.starts_with("-- ")).collect();
        assert!(header.len() >= 2 && header[1].ends_with(['.', ',']), "{name}: {header:?}");
    }
}

#[test]
fn the_golden_schema_is_where_the_migrations_lead() {
    let connection = fresh();
    let mut statement = connection
        .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY name")
        .unwrap();
    let found: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let found =
        format!("-- Where the migrations lead; written by the test that compares it.\n\n{};\n", found.join(";\n\n"));
    let golden = folder().join("schema.sql");
    if std::env::var_os("ZJOBS_WRITE_GOLDEN").is_some() {
        fs::write(&golden, &found).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&golden).unwrap_or_default(),
        found,
        "run it with ZJOBS_WRITE_GOLDEN=1 after a migration"
    );
}
