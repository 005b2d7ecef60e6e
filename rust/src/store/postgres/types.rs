//! Values on the wire, in PostgreSQL's binary form.

use std::error::Error;
use std::time::Duration;

use postgres_types::private::BytesMut;
use postgres_types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

use crate::clock::Timestamp;
use crate::job::NodeId;

type Boxed = Box<dyn Error + Sync + Send>;

/// Microseconds from 1970 to 2000, where PostgreSQL begins to count.
const EPOCH: i64 = 946_684_800_000_000;

/// A `timestamptz`.
#[derive(Debug, Clone, Copy)]
pub(super) struct At(pub(super) Timestamp);

impl ToSql for At {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Boxed> {
        out.extend_from_slice(&self.0.0.saturating_sub(EPOCH).to_be_bytes());
        Ok(IsNull::No)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for At {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Boxed> {
        let micros = i64::from_be_bytes(raw.try_into()?).saturating_add(EPOCH);
        // A row edited by hand may be outside of what a `datetime` can hold; so is `infinity`.
        Ok(Self(Timestamp(micros.clamp(Timestamp::MIN.0, Timestamp::MAX.0))))
    }

    accepts!(TIMESTAMPTZ);
}

/// An `interval` without days and months.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span(pub(super) Duration);

impl ToSql for Span {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Boxed> {
        let micros = i64::try_from(self.0.as_micros()).unwrap_or(i64::MAX);
        out.extend_from_slice(&micros.to_be_bytes());
        out.extend_from_slice(&[0; 8]);
        Ok(IsNull::No)
    }

    accepts!(INTERVAL);
    to_sql_checked!();
}

/// The incarnation of a node: a `uuid`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Id(pub(super) NodeId);

impl ToSql for Id {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Boxed> {
        out.extend_from_slice(&self.0.0.to_be_bytes());
        Ok(IsNull::No)
    }

    accepts!(UUID);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Id {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Boxed> {
        Ok(Self(NodeId(u128::from_be_bytes(raw.try_into()?))))
    }

    accepts!(UUID);
}

/// The text of a `json` or `jsonb`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Json<'a>(pub(super) &'a str);

impl<'a> FromSql<'a> for Json<'a> {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Boxed> {
        let text = if *kind == Type::JSONB { raw.get(1..).unwrap_or_default() } else { raw };
        Ok(Self(std::str::from_utf8(text)?))
    }

    accepts!(JSON, JSONB);
}

/// The texts of a `text[]` of one dimension.
#[derive(Debug, Clone)]
pub(super) struct Words<'a>(pub(super) Vec<Option<&'a str>>);

impl<'a> FromSql<'a> for Words<'a> {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Boxed> {
        // The driver takes as much memory as the head asks for, which follows three other numbers. Each text has its length
        // before it.
        let told = raw.get(12..16).map_or(Ok(0), |length| length.try_into().map(i32::from_be_bytes))?;
        if usize::try_from(told)? > raw.len() / 4 {
            return Err(format!("{told} texts do not fit in {} bytes", raw.len()).into());
        }
        Ok(Self(Vec::from_sql(kind, raw)?))
    }

    accepts!(TEXT_ARRAY);
}
