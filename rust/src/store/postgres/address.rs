//! Where the server is and how it is reached: what a URL says, and what the environment says where the URL is silent.
//!
//! The words are libpq's: `PG*` variables, `~/.pgpass`, several hosts with `target_session_attrs`, and each `sslmode`
//! with the meaning that it has there.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use postgres_types::Type;
use tokio_postgres::config::Host;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Error, Result};
use crate::store::postgres::dialect::Dialect;
use crate::store::postgres::seat::Missed;
use crate::store::postgres::session::{Failed, ISOLATION, Kind, Plans, Session};
use crate::store::postgres::tls::Tls;
use crate::sync::Arc;

/// How long one host may take to answer at all.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a statement may wait for a lock.
const LOCK: Duration = Duration::from_secs(10);

/// A setting that a session of our own has and no other.
const MARK: &str = "zjobs.direct";
const RECOGNISE: &str = "SELECT current_setting($1, true), current_setting('default_transaction_isolation')";

/// What is read of the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A connection that somebody drives.
pub(super) type Driven = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// A server and how it is reached. Shown without its password.
pub(super) struct Address {
    config: Config,
    tls: MakeRustlsConnect,
    /// How long the server may work on one statement.
    patience: Duration,
}

impl Address {
    /// Reads a URL: `postgresql://user@host/database?option=value`.
    pub(super) fn parse(url: &str, patience: Duration, environment: Environment<'_>) -> Result<Self> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let refused = |cause: String| {
            // Where a password has a `?`, the options begin inside of it: then not even the parser's words are repeated.
            let told =
                if query.contains('@') { "what may be a password; write ? and @ in it as %3F and %40" } else { &cause };
            Error::invalid("url", "must be postgresql://user@host/database?option=value", told)
        };
        if base.matches('@').count() > 1 || (query.contains('@') && !base.contains('@')) {
            // The end of the password would be taken for a host, a database or an option, which are shown.
            return Err(Error::invalid(
                "url",
                "must have each ? and @ of its parts written as %3F and %40",
                "one too many",
            ));
        }
        let mut options = Options::of(query).map_err(&refused)?;
        let mut from = |option: &str, variable: &str| options.take(option).or_else(|| environment(variable));
        let tls = Tls {
            mode: from("sslmode", "PGSSLMODE"),
            roots: from("sslrootcert", "PGSSLROOTCERT"),
            certificate: from("sslcert", "PGSSLCERT"),
            key: from("sslkey", "PGSSLKEY"),
            home: environment("HOME").map(PathBuf::from),
        };
        let passfile = from("passfile", "PGPASSFILE");
        let application = from("application_name", "PGAPPNAME");
        let base = environment("PGPORT").map_or_else(|| base.to_owned(), |port| with_port(base, &port));
        let mut config: Config = options.onto(&base).parse().map_err(|error: tokio_postgres::Error| {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            // The text of a URL may hold a password: only the parser's own words are repeated.
            refused(cause)
        })?;
        fill_in(&mut config, environment)?;
        config.application_name(application.as_deref().unwrap_or("zjobs"));
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        config.keepalives(true).keepalives_idle(Duration::from_secs(20)).keepalives_interval(Duration::from_secs(5));
        config.keepalives_retries(3).tcp_user_timeout(patience);
        if config.get_password().is_none() {
            let file = passfile.map(PathBuf::from).or_else(|| Some(Path::new(&environment("HOME")?).join(".pgpass")));
            if let Some(password) = file.as_deref().and_then(|file| password_for(&config, file)) {
                config.password(password);
            }
        }
        let (mode, connector) = tls.connector(&config)?;
        config.ssl_mode(mode);
        Ok(Self { config, tls: connector, patience })
    }

    /// A connection that is driven by whoever asked for it.
    pub(super) async fn connect(
        &self,
        plans: Plans,
        dialect: &Arc<Dialect>,
    ) -> std::result::Result<(Session, Driven), Missed> {
        match self.connect_directly(plans, dialect).await {
            // A pooler does not pass on what it does not know.
            Err(error) if is_refused_option(&error) => {
                let (client, mut connection) = self.open(&self.config).await?;
                let found = recognised(&client, &mut connection).await.map_err(|error| self.not_sent(&error))?;
                Ok((Session::new(client, Kind::Pooled, &found.isolation, plans, dialect.clone()), connection))
            }
            Ok(connected) => Ok(connected),
            Err(error) => Err(self.not_sent(&error)),
        }
    }

    /// With settings that a session of our own keeps; whether it is one is seen by whether it has them: a pooler may be told
    /// to drop what it does not know.
    async fn connect_directly(
        &self,
        plans: Plans,
        dialect: &Arc<Dialect>,
    ) -> std::result::Result<(Session, Driven), tokio_postgres::Error> {
        let mut config = self.config.clone();
        let ours = format!(
            "-c {MARK}=on -c statement_timeout={} -c lock_timeout={} -c idle_in_transaction_session_timeout=60000{}",
            self.patience.as_millis(),
            LOCK.as_millis().min(self.patience.as_millis()),
            plans.options(),
        );
        // Of two words on the same the last one counts.
        let isolation = ISOLATION.replace(' ', "\\ ");
        config.options(format!(
            "{ours} {} -c default_transaction_isolation={isolation}",
            self.config.get_options().unwrap_or_default()
        ));
        let (client, mut connection) = config.connect(self.tls.clone()).await?;
        let found = recognised(&client, &mut connection).await?;
        let kind = if found.is_ours { Kind::Direct } else { Kind::Pooled };
        Ok((Session::new(client, kind, &found.isolation, plans, dialect.clone()), connection))
    }

    /// Asks the server to give up what the session has asked for last.
    pub(super) async fn cancel(&self, session: &Session) -> std::result::Result<(), tokio_postgres::Error> {
        session.cancel_token().cancel_query(self.tls.clone()).await
    }

    async fn open(&self, config: &Config) -> std::result::Result<(Client, Driven), Missed> {
        config.connect(self.tls.clone()).await.map_err(|error| self.not_sent(&error))
    }

    /// Nothing was asked yet, whatever went wrong.
    fn not_sent(&self, error: &tokio_postgres::Error) -> Missed {
        use crate::store::postgres::meaning::Fate;
        match Fate::of(error) {
            Fate::Final if error.as_db_error().is_some() => Missed::Failed(Failed::Engine(self.error(error))),
            Fate::Final | Fate::NotDone | Fate::Unknown => Missed::NotSent(self.error(error)),
        }
    }
}

/// How a session was found.
struct Found {
    /// It has what it was opened with.
    is_ours: bool,
    /// That of its transactions unless they say another.
    isolation: String,
}

async fn recognised(client: &Client, connection: &mut Driven) -> std::result::Result<Found, tokio_postgres::Error> {
    let asked = pin!(client.query_typed(RECOGNISE, &[(&MARK, Type::TEXT)]));
    let rows = match select(asked, connection).await {
        Either::Left((rows, _)) => rows?,
        Either::Right((ended, asked)) => {
            ended?;
            asked.await?
        }
    };
    let Some(row) = rows.first() else { return Ok(Found { is_ours: false, isolation: String::new() }) };
    Ok(Found { is_ours: row.try_get::<_, Option<&str>>(0)? == Some("on"), isolation: row.try_get(1)? })
}

fn is_refused_option(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|db| db.message().contains("startup parameter"))
}

/// Names the server and the database, and nothing secret.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = self.config.get_ports();
        let port = |place: usize| ports.get(place).or_else(|| ports.first()).copied().unwrap_or(5432);
        let hosts = self.config.get_hosts().iter().enumerate().map(|(place, host)| match host {
            Host::Tcp(name) => format!("{name}:{}", port(place)),
            Host::Unix(folder) => format!("{}:{}", folder.display(), port(place)),
        });
        let database = self.config.get_dbname().or_else(|| self.config.get_user()).unwrap_or("");
        write!(f, "PostgreSQL at {}/{database}", hosts.collect::<Vec<_>>().join(","))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// The options of a URL, as they stand there.
struct Options(BTreeMap<String, String>);

impl Options {
    fn of(query: &str) -> Result<Self, String> {
        let mut options = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(format!("the option {pair} without a value"));
            };
            options.insert(name.to_owned(), value.to_owned());
        }
        Ok(Self(options))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).map(|value| decoded(&value))
    }

    /// The URL with the options that were not taken.
    fn onto(&self, base: &str) -> String {
        let pairs: Vec<_> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if pairs.is_empty() { base.to_owned() } else { format!("{base}?{}", pairs.join("&")) }
    }
}

/// The URL whose hosts have the port where they had none: the driver would take its own default.
fn with_port(base: &str, port: &str) -> String {
    let Some((scheme, rest)) = base.split_once("://") else { return base.to_owned() };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (user, hosts) = authority.rfind('@').map_or(("", authority), |at| authority.split_at(at + 1));
    let has_port = |host: &str| host.rsplit(']').next().is_some_and(|end| end.contains(':'));
    let with = |host: &str| if host.is_empty() || has_port(host) { host.to_owned() } else { format!("{host}:{port}") };
    let hosts: Vec<_> = hosts.split(',').map(with).collect();
    format!("{scheme}://{user}{}{path}", hosts.join(","))
}

/// Without `%41`.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut plain, mut place) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(place) {
        let coded = (byte == b'%').then(|| text.get(place + 1..place + 3)).flatten();
        let decoded = coded.and_then(|two| u8::from_str_radix(two, 16).ok());
        plain.push(decoded.unwrap_or(byte));
        place += if decoded.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn fill_in(config: &mut Config, environment: Environment<'_>) -> Result<()> {
    if config.get_hosts().is_empty() {
        match environment("PGHOST") {
            Some(hosts) => {
                for host in hosts.split(',') {
                    config.host(host);
                }
            }
            None => {
                config.host(default_host());
            }
        }
    }
    if config.get_ports().is_empty()
        && let Some(port) = environment("PGPORT")
    {
        let port = port.parse().map_err(|_| Error::invalid("PGPORT", "must be a number up to 65535", &port))?;
        config.port(port);
    }
    let user = || environment("PGUSER").or_else(|| environment("USER")).or_else(|| environment("LOGNAME"));
    if config.get_user().is_none()
        && let Some(user) = user()
    {
        config.user(user);
    }
    if config.get_dbname().is_none()
        && let Some(database) = environment("PGDATABASE")
    {
        config.dbname(database);
    }
    if config.get_password().is_none()
        && let Some(password) = environment("PGPASSWORD")
    {
        config.password(password);
    }
    Ok(())
}

/// Where a server of this machine listens, as libpq looks for it.
fn default_host() -> &'static str {
    let folders = ["/var/run/postgresql", "/tmp"];
    let listens = |folder: &&&str| Path::new(folder).join(".s.PGSQL.5432").exists();
    folders.iter().find(listens).copied().unwrap_or("localhost")
}

/// The password of the first line of the file that fits. Like libpq, a file that others may read is passed over.
fn password_for(config: &Config, file: &Path) -> Option<String> {
    let found = std::fs::metadata(file).ok()?;
    if !found.is_file() || found.permissions().mode() & 0o077 != 0 {
        return None;
    }
    let host = match config.get_hosts().first()? {
        Host::Tcp(name) => name.clone(),
        Host::Unix(_) => "localhost".to_owned(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432).to_string();
    let user = config.get_user()?;
    let wanted = [&host, &port, config.get_dbname().unwrap_or(user), user];
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = fields_of(line);
        let fits =
            fields.len() == 5 && fields.iter().zip(wanted).all(|(field, wanted)| field == "*" || field == wanted);
        fits.then(|| fields[4].clone())
    })
}

/// Parted at colons; `\:` and `\\` stand for themselves.
fn fields_of(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ':' if fields.len() < 5 => fields.push(String::new()),
            '\\' => fields.iter_mut().last().into_iter().for_each(|field| field.extend(letters.next())),
            other => fields.iter_mut().last().into_iter().for_each(|field| field.push(other)),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str, variables: &[(&str, &str)]) -> Result<Address> {
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Address::parse(url, Duration::from_secs(15), &find)
    }

    #[test]
    fn a_url_names_hosts_user_and_database_and_is_shown_without_its_password() {
        let address =
            parse("postgresql://ann:s3cret@db1:5433,db2:5434/jobs?target_session_attrs=read-write", &[]).unwrap();
        assert_eq!(address.to_string(), "PostgreSQL at db1:5433,db2:5434/jobs");
        assert!(!format!("{address:?}").contains("s3cret"));
        assert_eq!(address.config.get_user(), Some("ann"));
    }

    #[test]
    fn the_environment_fills_what_the_url_leaves_out() {
        let variables =
            [("PGHOST", "db"), ("PGPORT", "6000"), ("PGUSER", "eve"), ("PGDATABASE", "j"), ("PGPASSWORD", "p")];
        let address = parse("postgresql://", &variables).unwrap();
        assert_eq!(address.to_string(), "PostgreSQL at db:6000/j");
        assert_eq!(address.config.get_password(), Some(b"p".as_slice()));
        let address = parse("postgresql://bob@other/k", &variables).unwrap();
        assert_eq!(
            (address.to_string().as_str(), address.config.get_user()),
            ("PostgreSQL at other:6000/k", Some("bob"))
        );
    }

    #[test]
    fn what_is_no_url_and_unknown_options_are_refused_without_repeating_the_url() {
        for url in ["postgresql://ann:s3cret@db:port/x", "postgresql://db/x?no_such=s3cret", "postgresql://db/x?flag"] {
            let Err(error) = parse(url, &[]) else { panic!("{url}") };
            assert!(matches!(error, Error::Invalid { .. }) && !error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_password_that_is_not_coded_as_it_should_be_is_not_repeated_either() {
        for password in ["a?s3cret", "a?s3cret=", "a?b=c&s3cret", "a@s3cret", "a@s3cret,", "?@s3cret", "a?@/s3cret"] {
            for end in ["@db/x", "@db", "@db:port/x", "@db/x?connect_timeout=1"] {
                let found = parse(&format!("postgresql://ann:{password}{end}"), &[("PGPORT", "1")]);
                let told = found.map_or_else(|error| error.to_string(), |address| address.to_string());
                assert!(!told.contains("s3cret"), "{told}");
            }
        }
    }

    #[test]
    fn the_password_file_is_read_as_libpq_does() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pass");
        std::fs::write(&file, "# note\ndb:5432:*:bob:no\n*:*:jobs:ann:a\\:b\\\\c\n*:*:*:*:late\n").unwrap();
        let with = |url: &str| {
            let address = parse(url, &[("PGPASSFILE", file.to_str().unwrap())]).unwrap();
            address.config.get_password().map(|password| String::from_utf8_lossy(password).into_owned())
        };
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(with("postgresql://ann@db/jobs"), None, "others may read it");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(with("postgresql://ann@db/jobs").as_deref(), Some("a:b\\c"));
        assert_eq!(with("postgresql://bob@db/x").as_deref(), Some("no"));
        assert_eq!(with("postgresql://zoe@other/x").as_deref(), Some("late"));
        assert_eq!(with("postgresql://ann:own@db/jobs").as_deref(), Some("own"));
    }

    #[test]
    fn codes_of_a_url_are_read() {
        assert_eq!(decoded("a%2Fb%2fc%20d%"), "a/b/c d%");
    }
}
