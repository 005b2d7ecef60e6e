//! The query table: one file per statement and dialect, read at compile time. Nothing edits SQL at run time.
//! Each text has one address, by which what is prepared of it is found again.

/// The statements of one dialect, by the name of their file.
macro_rules! queries {
    ($dialect:literal: $($name:ident),+ $(,)?) => {
        $(
            #[doc = concat!("`", stringify!($name), ".sql`")]
            #[allow(non_upper_case_globals, reason = "named as its file is")]
            pub static $name: &str = include_str!(concat!("../../sql/", $dialect, "/", stringify!($name), ".sql"));
        )+

        /// Every statement with the name of its file.
        pub static ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),+];
    };
}

/// SQLite's.
pub mod sqlite {
    queries! { "sqlite":
        ack, ask, bury, cancel, claim, complete, count, counts, cron, crons, delete, delete_cron, delete_ticks, depart, enqueue,
        errors, find_key, forget_nodes, forget_ticks, get, heartbeat, held, list, list_newest, next_due, node, node_id, nodes,
        orphans, outdated, peek, pick, pick_newest, prunable, prune, queues, register, report, rescue, retire, retry, save_cron, set_cron_paused,
        settings, stage, take_key, tick, ticked, why,
    }

    /// The steps that lead to the schema of this version, in order: name and text.
    pub const MIGRATIONS: &[(&str, &str)] = &[("tables", include_str!("../../sql/sqlite/migrations/0001_tables.sql"))];
}

/// PostgreSQL's.
pub mod postgres {
    queries! { "postgres":
        ack, ask, bury, cancel, claim, complete, count, counts, cron, crons, dead, delete, delete_cron, delete_ticks,
        depart, ended_key, enqueue, enqueue_many, enqueue_one, enqueue_unique, find_keys, forget_nodes, forget_ticks,
        get, get_plain, heartbeat, held, list, list_newest, next_due, node, nodes, now, orphans, pick, pick_newest,
        prune, queues, register, report, rescue, retire, retry, said, save_cron, set_cron_paused, settings, stage,
        strays, tick, ticked, wanted, why,
    }

    /// The steps that lead to the schema of this version, in order: name and text.
    pub const MIGRATIONS: &[(&str, &str)] =
        &[("tables", include_str!("../../sql/postgres/migrations/0001_tables.sql"))];
}
