//! Schedules, and their ticks: each once, in the transaction that inserts its job.

use postgres_types::Type;

use crate::job::Name;
use crate::store::postgres::by_hand::TICKS_KEPT;
use crate::store::postgres::enqueue;
use crate::store::postgres::session::{Parameter, Session, Verb};
use crate::store::postgres::types::{At, Span};
use crate::store::sql::postgres as sql;
use crate::store::{CronEntry, CronRow, CronTick, Paused, Ticked};

pub(super) async fn save(session: &Session, entry: &CronEntry) -> Verb<()> {
    let parameters: [Parameter<'_>; 4] = [
        (&entry.name.as_str(), Type::TEXT),
        (&entry.expression, Type::TEXT),
        (&entry.timezone, Type::TEXT),
        (&entry.worker.as_str(), Type::TEXT),
    ];
    session.execute(sql::save_cron, &parameters).await.map(drop)
}

pub(super) async fn set_paused(session: &Session, name: &Name, paused: Paused) -> Verb<bool> {
    let paused = paused == Paused::Yes;
    let changed = session.execute(sql::set_cron_paused, &[(&name.as_str(), Type::TEXT), (&paused, Type::BOOL)]).await?;
    Ok(changed > 0)
}

/// In a transaction.
pub(super) async fn delete(session: &Session, name: &Name) -> Verb<bool> {
    session.execute(sql::delete_ticks, &[(&name.as_str(), Type::TEXT)]).await?;
    Ok(session.execute(sql::delete_cron, &[(&name.as_str(), Type::TEXT)]).await? > 0)
}

pub(super) async fn all(session: &Session) -> Verb<Vec<CronRow>> {
    let row = |row: &tokio_postgres::Row| {
        let entry = CronEntry {
            name: Name::stored(row.try_get(0)?),
            expression: row.try_get(1)?,
            timezone: row.try_get(2)?,
            worker: Name::stored(row.try_get(3)?),
        };
        let last_tick = row.try_get::<_, Option<At>>(6)?.map(|At(at)| at);
        Ok(CronRow { entry, paused: row.try_get(4)?, known_since: row.try_get::<_, At>(5)?.0, last_tick })
    };
    session.query(sql::crons, &[]).await?.iter().map(row).collect()
}

/// In a transaction.
pub(super) async fn tick(session: &Session, tick: &CronTick) -> Verb<Ticked> {
    let parameters: [Parameter<'_>; 3] =
        [(&tick.name.as_str(), Type::TEXT), (&At(tick.at), Type::TIMESTAMPTZ), (&Span(TICKS_KEPT), Type::INTERVAL)];
    let known = session.query(sql::cron, &parameters).await?;
    let Some(row) = known.first() else { return Ok(Ticked::Resting) };
    if row.try_get(0)? {
        return Ok(Ticked::Resting);
    }
    // Its row may be gone already: then the latest tick tells.
    if row.try_get(2)? || session.execute(sql::tick, &parameters[..2]).await? == 0 {
        return Ok(Ticked::Already);
    }
    session.execute(sql::ticked, &parameters[..2]).await?;
    let enqueued = match &tick.job {
        Some(job) => enqueue::enqueue(session, std::slice::from_ref(job), None).await?.pop().map(Box::new),
        None => None,
    };
    Ok(Ticked::Inserted(enqueued))
}
