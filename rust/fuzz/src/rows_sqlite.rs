//! Rows of a SQLite file that somebody has edited.

use std::cell::OnceCell;

use arbitrary::Arbitrary;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, named_params, params_from_iter};
use zjobs_engine::Timestamp;
use zjobs_engine::job::{Job, JobId};
use zjobs_engine::store::sql::sqlite as sql;
use zjobs_engine::store::sqlite::{COLUMNS, fuzzing};

use crate::names::tables;
use crate::words::{self, assert_shown, made};

/// What can stand in a column.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Cell<'a> {
    Null,
    Whole(i64),
    Small(i8),
    Real(f64),
    /// UTF-8.
    Text(&'a str),
    /// SQLite keeps any bytes as text.
    Garbled(&'a [u8]),
    Blob(&'a [u8]),
}

#[derive(Debug, Arbitrary)]
struct Edit<'a> {
    column: u8,
    cell: Cell<'a>,
}

/// Few ones: most that are let in make a row that is no job, or none that is claimed.
fn edits(data: &[u8], most: u8) -> Vec<Edit<'_>> {
    let Some((count, rest)) = data.split_first() else { return Vec::new() };
    words::steps(rest).take(usize::from(count % most)).collect()
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Cell::Null => ValueRef::Null,
            Cell::Whole(number) => ValueRef::Integer(number),
            Cell::Small(number) => ValueRef::Integer(number.into()),
            Cell::Real(number) => ValueRef::Real(number),
            Cell::Text(text) => ValueRef::Text(text.as_bytes()),
            Cell::Garbled(bytes) => ValueRef::Text(bytes),
            Cell::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// A row as the store wrote it, in the order of the columns.
const SOUND: [Cell<'static>; 23] = [
    Cell::Whole(1),
    Cell::Whole(0),
    Cell::Text("q"),
    Cell::Text("w"),
    Cell::Text("{}"),
    Cell::Whole(0),
    Cell::Whole(0),
    Cell::Whole(20),
    Cell::Whole(0),
    Cell::Null,
    Cell::Whole(0),
    Cell::Whole(0),
    Cell::Null,
    Cell::Null,
    Cell::Whole(300),
    Cell::Whole(0),
    Cell::Whole(0),
    Cell::Null,
    Cell::Null,
    Cell::Null,
    Cell::Null,
    Cell::Null,
    Cell::Null,
];

fn sane(job: &Job) {
    let times = [Some(job.scheduled_at), Some(job.inserted_at), job.attempted_at, job.finished_at];
    let fits = |at: &Timestamp| (Timestamp::MIN..=Timestamp::MAX).contains(at);
    assert!(times.iter().flatten().all(fits), "a time that no datetime can hold: {times:?}");
    assert!(job.details().errors.iter().all(|error| fits(&error.at)), "the same in an error");
}

fn with<T>(look: impl FnOnce(&Connection) -> T) -> T {
    thread_local! {
        static TABLES: OnceCell<Connection> = const { OnceCell::new() };
    }
    TABLES.with(|connection| look(connection.get_or_init(tables)))
}

/// Anything in any column is a job, or an error.
pub(crate) fn decode(data: &[u8]) {
    let mut cells = SOUND;
    for edit in edits(data, 8) {
        cells[usize::from(edit.column) % cells.len()] = edit.cell;
    }
    with(|connection| {
        let mut statement = made(connection.prepare_cached(
            "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23",
        ));
        match statement.query_row(params_from_iter(cells), fuzzing::job) {
            Ok((job, _)) => sane(&job),
            Err(error) => assert_shown(&error.to_string()),
        }
    });
    if let Ok(text) = std::str::from_utf8(data) {
        let node = fuzzing::node_of(text);
        assert_eq!(fuzzing::node_of(&fuzzing::node_text(node)), node);
    }
}

/// What the schema lets into one row never keeps the job beside it from being claimed, and reads as a job.
pub(crate) fn claim(data: &[u8]) {
    let edits = edits(data, 5);
    with(|connection| {
        made(connection.execute_batch("BEGIN"));
        let claimed = edited_and_claimed(connection, &edits);
        made(connection.execute_batch("ROLLBACK"));
        assert!(claimed.contains(&JobId(2)), "the job beside it is not claimed");
    });
}

fn edited_and_claimed(connection: &Connection, edits: &[Edit<'_>]) -> Vec<JobId> {
    let columns = COLUMNS.join(", ");
    let insert = format!("INSERT INTO zjobs_jobs ({columns}) VALUES ({})", ["?"; COLUMNS.len()].join(", "));
    let mut insert = made(connection.prepare_cached(&insert));
    for id in [1, 2] {
        let cells = SOUND.iter().enumerate().map(|(place, cell)| if place == 0 { Cell::Whole(id) } else { *cell });
        made(insert.execute(params_from_iter(cells)));
    }
    for edit in edits {
        let column = COLUMNS[1 + usize::from(edit.column) % (COLUMNS.len() - 1)];
        let update = format!("UPDATE zjobs_jobs SET {column} = ? WHERE id = 1");
        // What the schema does not let in changes nothing.
        made(connection.prepare_cached(&update)).execute([edit.cell]).unwrap_or_default();
    }
    let mut claim = made(connection.prepare_cached(sql::claim));
    let arguments = named_params! {":node": 1, ":now": 5, ":queue": "q", ":limit": 10};
    let rows = made(claim.query_map(arguments, fuzzing::job));
    let claimed = rows.map(|row| made(row).0).collect::<Vec<_>>();
    let mut get = made(connection.prepare_cached(sql::get));
    for id in [1, 2] {
        let (job, node) = made(get.query_row(named_params! {":id": id}, fuzzing::job));
        sane(&job);
        assert_eq!(job.id, JobId(id));
        assert_eq!(node.is_some(), job.state == zjobs_engine::State::Executing);
    }
    claimed.iter().inspect(|job| sane(job)).map(|job| job.id).collect()
}
