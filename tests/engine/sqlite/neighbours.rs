//! Processes that share a file, with real processes that are killed and stopped.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use zjobs_engine::clock::{Clock, System, Timestamp};
use zjobs_engine::job::JobId;
use zjobs_engine::store::Signal;
use zjobs_engine::store::sqlite::neighbours::{Fate, Hearer, Neighbours, News};
use zjobs_engine::sync::{Arc, Mutex, Weak};

use crate::conformance::fixture::queue;

const SOON: Duration = Duration::from_secs(20);
const DATABASE: &str = "ZJOBS_TEST_NEIGHBOUR_OF";

struct Ear(Mutex<Sender<Signal>>);

impl Hearer for Ear {
    fn hear(&self, news: News) {
        drop(self.0.lock().send(news.signal()));
    }
}

struct Me {
    neighbours: Neighbours,
    name: String,
    heard: Receiver<Signal>,
    ear: Arc<dyn Hearer>,
}

impl Me {
    /// As at each beat.
    fn join_again(&self) {
        assert_eq!(self.neighbours.join(Arc::downgrade(&self.ear), System.moment()).unwrap(), self.name);
    }

    fn fate_of(&self, name: &str) -> Fate {
        self.neighbours.fate_of(name).unwrap()
    }
}

fn join(database: &Path, seed: u64) -> Me {
    let (told, heard) = channel();
    let ear: Arc<dyn Hearer> = Arc::new(Ear(Mutex::new(told)));
    let neighbours = Neighbours::of(database, fastrand::Rng::with_seed(seed));
    let name = neighbours.join(Arc::downgrade(&ear), System.moment()).unwrap();
    Me { neighbours, name, heard, ear }
}

/// Another process that has joined.
struct Other {
    process: Child,
    name: String,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Other {
    fn start(database: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sqlite::neighbours::the_other_process", "--ignored", "--nocapture"])
            .env(DATABASE, database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let name = line(&mut lines, "joined ");
        Self { process, name, lines }
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The rest of the next line that begins so; the test harness prints lines of its own.
fn line(lines: &mut impl Iterator<Item = std::io::Result<String>>, begin: &str) -> String {
    let found = lines.map(Result::unwrap).find_map(|line| line.split_once(begin).map(|(_, rest)| rest.to_owned()));
    found.unwrap()
}

#[test]
#[ignore = "the other process of the tests here, which start it"]
fn the_other_process() {
    let Some(database) = std::env::var_os(DATABASE) else { return };
    let me = join(Path::new(&database), u64::from(std::process::id()));
    println!("joined {}", me.name);
    std::io::stdout().flush().unwrap();
    for signal in me.heard {
        println!("heard {signal:?}");
    }
}

fn database(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("jobs.db")
}

#[test]
fn a_process_that_was_killed_is_gone_at_once_and_its_neighbours_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let me = join(&database(&folder), 1);
    let other = Other::start(&database(&folder));
    assert_eq!(me.fate_of(&other.name), Fate::Lives);
    other.signal("-KILL");
    assert_eq!(me.heard.recv_timeout(SOON).unwrap(), Signal::Orphaned);
    assert_eq!(me.fate_of(&other.name), Fate::Ended);
    me.neighbours.bury(&other.name);
    let left: Vec<_> = std::fs::read_dir(folder.path().join("jobs.db-zjobs")).unwrap().collect();
    assert_eq!(left.len(), 2, "a lock and a socket: {left:?}");
}

#[test]
fn a_process_that_is_stopped_is_not_gone() {
    let folder = tempfile::tempdir().unwrap();
    let me = join(&database(&folder), 1);
    let other = Other::start(&database(&folder));
    other.signal("-STOP");
    assert_eq!(me.fate_of(&other.name), Fate::Lives);
    other.signal("-CONT");
    assert_eq!(me.fate_of(&other.name), Fate::Lives);
}

#[test]
fn one_whose_lock_is_gone_has_ended_only_when_the_kernel_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let me = join(&database(&folder), 1);
    let mut other = Other::start(&database(&folder));
    std::fs::remove_file(folder.path().join(format!("jobs.db-zjobs/{}.lock", other.name))).unwrap();
    assert_eq!(me.fate_of(&other.name), Fate::Unclear);
    other.signal("-KILL");
    other.process.wait().unwrap();
    assert_eq!(me.fate_of(&other.name), Fate::Ended);
}

#[test]
fn what_was_taken_away_is_there_again_at_the_next_beat_and_news_are_heard_again() {
    // A path that is too long for a socket is reached through the folder itself, which is another one then.
    for deep in ["d", &"d".repeat(120)] {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join(deep);
        std::fs::create_dir(&deep).unwrap();
        let (one, two) = (join(&deep.join("jobs.db"), 1), join(&deep.join("jobs.db"), 2));
        let news = News::of(&Signal::Due(Timestamp(9)));
        one.neighbours.tell(&news, System.moment());
        assert_eq!(two.heard.recv_timeout(SOON).unwrap(), Signal::Due(Timestamp(9)));
        let side = deep.join("jobs.db-zjobs");
        std::fs::remove_dir_all(&side).unwrap();
        two.join_again();
        one.join_again();
        assert_eq!(std::fs::read_dir(&side).unwrap().count(), 4, "a lock and a socket of each");
        one.neighbours.tell(&news, System.moment());
        assert_eq!(two.heard.recv_timeout(SOON).unwrap(), Signal::Due(Timestamp(9)));
    }
}

#[test]
fn news_reach_another_process_and_whoever_joins_later() {
    let folder = tempfile::tempdir().unwrap();
    let me = join(&database(&folder), 1);
    let mut others = [Other::start(&database(&folder)), Other::start(&database(&folder))];
    let signals = [
        Signal::Ready(queue("mail")),
        Signal::Due(Timestamp(5)),
        Signal::Cancel(vec![JobId(7), JobId(8)]),
        Signal::Control(queue("mail")),
    ];
    let news: Vec<_> = signals.iter().flat_map(News::of).collect();
    me.neighbours.tell(&news, System.moment());
    for other in &mut others {
        for signal in &signals {
            assert_eq!(line(&mut other.lines, "heard "), format!("{signal:?}"));
        }
    }
}

#[test]
fn this_process_is_never_gone_to_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (join(&database(&folder), 1), join(&database(&folder), 2));
    assert_eq!(one.fate_of(&two.name), Fate::Lives);
    assert_eq!(one.fate_of(&one.name), Fate::Lives);
    let name = two.name.clone();
    drop(two);
    assert_eq!(one.fate_of(&name), Fate::Ended);
}

#[test]
fn what_dead_processes_left_is_swept_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut other = Other::start(&database(&folder));
    other.signal("-KILL");
    other.process.wait().unwrap();
    let side = folder.path().join("jobs.db-zjobs");
    assert_eq!(std::fs::read_dir(&side).unwrap().count(), 2);
    let me = join(&database(&folder), 1);
    let left: Vec<_> = std::fs::read_dir(&side).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|file| file.to_str().unwrap().starts_with(&me.name)), "{left:?}");
    drop(me);
    assert_eq!(std::fs::read_dir(&side).unwrap().count(), 0);
}

#[test]
fn names_that_are_none_of_ours_lead_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let me = join(&database(&folder), 1);
    let precious = folder.path().join("precious.lock");
    std::fs::write(&precious, "x").unwrap();
    for name in ["../precious", "", "x", &"g".repeat(32), &"a".repeat(31)] {
        assert_eq!(me.fate_of(name), Fate::Unclear, "{name}");
        me.neighbours.bury(name);
    }
    assert!(precious.exists());
}

#[test]
fn the_side_folder_is_private_and_no_link() {
    let folder = tempfile::tempdir().unwrap();
    let _me = join(&database(&folder), 1);
    let side = folder.path().join("jobs.db-zjobs");
    assert_eq!(std::fs::metadata(&side).unwrap().permissions().mode() & 0o777, 0o700);
    let other = folder.path().join("other.db");
    std::os::unix::fs::symlink(&side, folder.path().join("other.db-zjobs")).unwrap();
    let neighbours = Neighbours::of(&other, fastrand::Rng::with_seed(3));
    let nobody: Weak<dyn Hearer> = Weak::<Ear>::new();
    let refused = neighbours.join(nobody, System.moment()).unwrap_err().to_string();
    assert!(refused.contains("other.db-zjobs") && refused.contains("link"), "{refused}");
}

#[test]
fn a_long_path_does_not_silence_the_news() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("d".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    let (one, two) = (join(&deep.join("jobs.db"), 1), join(&deep.join("jobs.db"), 2));
    one.neighbours.tell(&News::of(&Signal::Due(Timestamp(9))), System.moment());
    assert_eq!(two.heard.recv_timeout(SOON).unwrap(), Signal::Due(Timestamp(9)));
}

#[test]
fn a_flood_of_news_neither_blocks_nor_piles_up() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (join(&database(&folder), 1), join(&database(&folder), 2));
    let news = News::of(&Signal::Ready(queue("mail")));
    for _ in 0..100_000 {
        one.neighbours.tell(&news, System.moment());
    }
    one.neighbours.tell(&News::of(&Signal::Due(Timestamp(1))), System.moment());
    assert_eq!(two.heard.recv_timeout(SOON).unwrap(), Signal::Ready(queue("mail")));
    assert!(two.heard.try_iter().count() < 100_000);
}
