//! Rows of PostgreSQL that somebody has edited, or that no real server would send.

use std::cell::OnceCell;
use std::sync::{Arc, Mutex, PoisonError};

use arbitrary::Arbitrary;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, Statement};
use zjobs_engine::Timestamp;
use zjobs_engine::store::postgres::{COLUMNS, fuzzing};

use crate::words::{assert_shown, made, steps};

/// A value on the wire; nothing for NULL.
type Wire = Option<Vec<u8>>;

/// The numbers of PostgreSQL's types.
mod oid {
    pub(super) const BOOL: u32 = 16;
    pub(super) const INT8: u32 = 20;
    pub(super) const INT2: u32 = 21;
    pub(super) const INT4: u32 = 23;
    pub(super) const TEXT: u32 = 25;
    pub(super) const JSON: u32 = 114;
    pub(super) const TEXT_ARRAY: u32 = 1009;
    pub(super) const TIMESTAMPTZ: u32 = 1184;
    pub(super) const UUID: u32 = 2950;
    pub(super) const JSONB: u32 = 3802;
}

/// The types of the columns.
const TYPES: [u32; 23] = [
    oid::INT8,
    oid::INT2,
    oid::TEXT,
    oid::TEXT,
    oid::JSON,
    oid::INT4,
    oid::INT4,
    oid::INT4,
    oid::INT4,
    oid::UUID,
    oid::TIMESTAMPTZ,
    oid::TIMESTAMPTZ,
    oid::TIMESTAMPTZ,
    oid::TIMESTAMPTZ,
    oid::INT8,
    oid::BOOL,
    oid::INT2,
    oid::TEXT,
    oid::TEXT_ARRAY,
    oid::JSON,
    oid::JSONB,
    oid::JSON,
    oid::JSON,
];

/// Columns that may be NULL.
const MAY_BE_NULL: [usize; 10] = [9, 12, 13, 14, 17, 18, 19, 20, 21, 22];

/// One column that is not as the store wrote it.
#[derive(Debug, Arbitrary)]
enum Edit<'a> {
    /// Bytes that no server would send.
    Garbled(u8, Option<&'a [u8]>),
    /// A value that the type and the checks of the table let in.
    Typed(u8, Option<Value<'a>>),
}

#[derive(Debug, Arbitrary)]
struct Value<'a> {
    number: i64,
    text: &'a str,
    words: Vec<Option<&'a str>>,
    rows: u8,
}

pub(crate) fn run(data: &[u8]) {
    let Some((count, rest)) = data.split_first() else { return };
    let mut row: Vec<Wire> = (0..TYPES.len()).map(|column| Some(sound(column))).collect();
    let mut may_be = true;
    for edit in steps(rest).take(usize::from(count % 7)) {
        match edit {
            Edit::Garbled(column, bytes) => {
                may_be = false;
                row[usize::from(column) % TYPES.len()] = bytes.map(<[u8]>::to_vec);
            }
            Edit::Typed(column, value) => {
                let column = usize::from(column) % TYPES.len();
                match value {
                    Some(value) => row[column] = Some(typed(column, &value)),
                    None if MAY_BE_NULL.contains(&column) => row[column] = None,
                    None => {}
                }
            }
        }
    }
    match fuzzing::job(&asked(row)) {
        Ok(job) => {
            let times = [Some(job.scheduled_at), Some(job.inserted_at), job.attempted_at, job.finished_at];
            let fits = |at: &Timestamp| (Timestamp::MIN..=Timestamp::MAX).contains(at);
            assert!(times.iter().flatten().all(fits), "a time that no datetime can hold: {times:?}");
            assert!(job.details().errors.iter().all(|error| fits(&error.at)), "the same in an error");
        }
        Err(error) => {
            assert!(!may_be, "a row that the table may hold is no job: {error}");
            assert_shown(&error);
        }
    }
}

fn sound(column: usize) -> Vec<u8> {
    let value = Value { number: 1, text: "w", words: vec![Some("t")], rows: 1 };
    typed(column, &value)
}

fn typed(column: usize, value: &Value<'_>) -> Vec<u8> {
    let bytes = value.number.to_be_bytes();
    let whole = |number: i32| number.max(0).to_be_bytes().to_vec();
    match TYPES[column] {
        oid::BOOL => vec![bytes[7] & 1],
        // The state has a check, and so have the crashes.
        oid::INT2 if column == 1 => vec![0, bytes[7] % 7],
        oid::INT2 => vec![bytes[6] & 0x7f, bytes[7]],
        oid::INT4 if column == 5 => bytes[4..].to_vec(),
        oid::INT4 => whole(i32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]])),
        oid::INT8 | oid::TIMESTAMPTZ => bytes.to_vec(),
        oid::UUID => [bytes, bytes].concat(),
        oid::TEXT_ARRAY => array(&value.words, value.rows),
        oid::JSONB => [&[1], value.text.replace('\0', "").as_bytes()].concat(),
        _ => value.text.replace('\0', "").into_bytes(),
    }
}

/// An array of texts, of one dimension or two, as PostgreSQL writes it.
fn array(words: &[Option<&str>], rows: u8) -> Vec<u8> {
    let number = |number: usize| made(i32::try_from(number)).to_be_bytes();
    let rows = if words.len().is_multiple_of(2) && rows % 4 == 3 { 2 } else { 1 };
    let dimensions = if words.is_empty() { 0 } else { rows };
    let has_null = words.iter().any(Option::is_none);
    let mut out = [number(dimensions), number(usize::from(has_null)), oid::TEXT.to_be_bytes()].concat();
    if dimensions == 2 {
        out.extend([number(2), number(1)].concat());
    }
    if dimensions > 0 {
        out.extend([number(words.len() / rows), number(1)].concat());
    }
    for word in words {
        match word {
            Some(word) => {
                out.extend(number(word.replace('\0', "").len()));
                out.extend(word.replace('\0', "").bytes());
            }
            None => out.extend((-1_i32).to_be_bytes()),
        }
    }
    out
}

/// A client and the server that is played to it.
struct Talk {
    runtime: Runtime,
    client: Client,
    statement: Statement,
    row: Arc<Mutex<Vec<Wire>>>,
}

fn asked(row: Vec<Wire>) -> tokio_postgres::Row {
    thread_local! {
        static TALK: OnceCell<Talk> = const { OnceCell::new() };
    }
    TALK.with(|talk| {
        let talk = talk.get_or_init(Talk::begin);
        *talk.row.lock().unwrap_or_else(PoisonError::into_inner) = row;
        made(talk.runtime.block_on(talk.client.query_one(&talk.statement, &[])))
    })
}

impl Talk {
    fn begin() -> Self {
        let runtime = made(tokio::runtime::Builder::new_current_thread().build());
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let row = Arc::new(Mutex::new(Vec::new()));
        let served = row.clone();
        runtime.spawn(async move { drop(serve(theirs, served).await) });
        let (client, statement) = runtime.block_on(async {
            let mut config = tokio_postgres::Config::new();
            config.user("u");
            let (client, connection) = made(config.connect_raw(ours, NoTls).await);
            tokio::spawn(connection);
            let statement = made(client.prepare("SELECT").await);
            (client, statement)
        });
        Self { runtime, client, statement, row }
    }
}

/// Answers whatever is asked with the one row.
async fn serve(mut stream: DuplexStream, row: Arc<Mutex<Vec<Wire>>>) -> std::io::Result<()> {
    let length = stream.read_u32().await?;
    let mut startup = vec![0; made(usize::try_from(length)) - 4];
    stream.read_exact(&mut startup).await?;
    stream.write_all(&[message(b'R', &[0; 4]), message(b'Z', b"I")].concat()).await?;
    let mut reply = Vec::new();
    loop {
        let kind = stream.read_u8().await?;
        let length = stream.read_u32().await?;
        let mut body = vec![0; made(usize::try_from(length)) - 4];
        stream.read_exact(&mut body).await?;
        match kind {
            b'P' => reply.extend(message(b'1', b"")),
            b'D' => reply.extend([message(b't', &[0; 2]), message(b'T', &description())].concat()),
            b'B' => reply.extend(message(b'2', b"")),
            b'E' => {
                let row = values(&row.lock().unwrap_or_else(PoisonError::into_inner));
                reply.extend([message(b'D', &row), message(b'C', b"SELECT 1\0")].concat());
            }
            b'C' => reply.extend(message(b'3', b"")),
            b'S' => {
                reply.extend(message(b'Z', b"I"));
                stream.write_all(&reply).await?;
                reply.clear();
            }
            _ => return Ok(()),
        }
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = made(u32::try_from(body.len() + 4)).to_be_bytes();
    [&[kind], &length[..], body].concat()
}

fn description() -> Vec<u8> {
    let mut out = made(u16::try_from(TYPES.len())).to_be_bytes().to_vec();
    for (name, kind) in COLUMNS.iter().zip(TYPES) {
        out.extend(name.bytes().chain([0]).chain([0; 6]));
        out.extend(kind.to_be_bytes());
        out.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 1]);
    }
    out
}

fn values(row: &[Wire]) -> Vec<u8> {
    let mut out = made(u16::try_from(row.len())).to_be_bytes().to_vec();
    for value in row {
        match value {
            Some(bytes) => {
                out.extend(made(u32::try_from(bytes.len())).to_be_bytes());
                out.extend(bytes);
            }
            None => out.extend((-1_i32).to_be_bytes()),
        }
    }
    out
}
