//! Datagrams between processes: an ear for what others tell, and a mouth to tell them.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use crate::clock::Moment;
use crate::sigmask;
use crate::store::news::{LONGEST, News};
use crate::store::own::Own;
use crate::store::sqlite::neighbours::watch::Watch;
use crate::store::sqlite::neighbours::{Hearer, LIST_KEPT, locks};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, Weak};

/// So many lines are taken before they are told: under a flood most of them say the same.
const AT_ONCE: usize = 256;

/// The longest path that a socket may have (`sockaddr_un.sun_path` holds 108 bytes on Linux, 104 elsewhere).
const LONGEST_PATH: usize = 100;

/// What a process says when it has joined.
const JOINED: &str = "joined";

/// Hears what the other processes tell, on a thread of its own.
#[derive(Debug)]
pub(super) struct Ear {
    socket: Own<UnixDatagram>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    owner: u32,
}

impl Ear {
    pub(super) fn open(folder: &Path, name: &str, hearer: Weak<dyn Hearer>) -> io::Result<Self> {
        let reach = Reach::of(folder)?;
        let socket = UnixDatagram::bind(reach.path(name))?;
        socket.set_nonblocking(true)?;
        let (heard, folder) = (Own::new(socket.try_clone()?)?, folder.to_owned());
        let over = Arc::new(AtomicBool::new(false));
        let ends = over.clone();
        let thread = sigmask::spawn("zjobs-ear", move || listen(&heard, &ends, &folder, &hearer))?;
        Ok(Self { socket: Own::new(socket)?, over, thread: Some(thread), owner: std::process::id() })
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let thread = self.thread.take();
        if self.owner != std::process::id() {
            // The child of a fork has no such thread, and nobody to wait for.
            std::mem::forget(thread);
            return;
        }
        // Ends the wait; a socket that does not block would not say by itself that it was shut.
        self.over.store(true, Ordering::Release);
        let Some(socket) = self.socket.get() else {
            // Other code has closed it. The thread waits on it all the same, and nothing can wake it.
            std::mem::forget(thread);
            return;
        };
        drop(socket.shutdown(std::net::Shutdown::Both));
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            drop(thread.join());
        }
    }
}

/// Until it is over or nobody listens any more.
fn listen(socket: &Own<UnixDatagram>, over: &AtomicBool, folder: &Path, hearer: &Weak<dyn Hearer>) {
    let mut watch = Watch::on(folder);
    loop {
        if let Some(socket) = socket.get() {
            watch.wait(socket);
        }
        // Other code may have closed it meanwhile, and with it what the watch has.
        let Some(socket) = socket.get() else { return std::mem::forget(watch) };
        if over.load(Ordering::Acquire) {
            return;
        }
        let mut news: Vec<News> = Vec::new();
        if watch.take_ended() {
            news.push(News::orphaned());
        }
        for line in take_lines(socket) {
            if line == JOINED.as_bytes() {
                watch = Watch::on(folder);
            } else if let Some(told) = News::read(&line)
                && !news.contains(&told)
            {
                news.push(told);
            }
        }
        let Some(hearer) = hearer.upgrade() else { return };
        for one in news {
            hearer.hear(one);
        }
    }
}

/// The lines that have come.
fn take_lines(socket: &UnixDatagram) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut line = [0; LONGEST];
    while lines.len() < AT_ONCE {
        match socket.recv(&mut line) {
            Ok(length) => lines.push(line[..length].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    lines
}

/// Tells the other processes.
#[derive(Debug)]
pub(super) struct Mouth {
    folder: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    reach: Option<Reach>,
    me: Option<String>,
    /// One socket for each: what one does not read counts against the sender's buffer, and must not silence the others.
    peers: HashMap<String, Own<UnixDatagram>>,
    /// The folder's time stamp when it was listed, and when that was.
    listed: Option<((i64, i64), Moment)>,
}

impl Mouth {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, known: Mutex::default() }
    }

    /// This is our own name: we need not be told.
    pub(super) fn ignore(&self, name: &str) {
        let mut known = self.known.lock();
        known.me = Some(name.to_owned());
        // The folder may be another one by now, and so may the sockets in it.
        known.reach = None;
        known.peers.clear();
        known.listed = None;
    }

    pub(super) fn tell(&self, news: &[News], now: Moment) {
        let lines: Vec<String> = news.iter().map(News::line).collect();
        self.say(&lines, now);
    }

    /// Tells those who are here already that one has joined, for them to watch.
    pub(super) fn say_joined(&self, now: Moment) {
        self.say(&[JOINED.to_owned()], now);
    }

    fn say(&self, lines: &[String], now: Moment) {
        let mut known = self.known.lock();
        let known = &mut *known;
        if !known.look(&self.folder, now) || known.peers.is_empty() {
            return;
        }
        known.peers.retain(|_, socket| {
            // A full buffer: that one has much to read already, and what it misses is found by polling.
            let gone =
                |error: io::Error| matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound);
            let Some(socket) = socket.get() else { return false };
            lines.iter().all(|line| !socket.send(line.as_bytes()).is_err_and(gone))
        });
    }
}

impl Known {
    /// Lists the sockets in the folder, unless nothing has changed. False when there is no folder.
    fn look(&mut self, folder: &Path, now: Moment) -> bool {
        let Ok(found) = fs::metadata(folder) else { return false };
        let stamp = (found.mtime(), found.mtime_nsec());
        if self.listed.is_some_and(|(then, at)| then == stamp && now.since(at) < LIST_KEPT) {
            return true;
        }
        if self.reach.is_none() {
            self.reach = Reach::of(folder).ok();
        }
        let Ok(entries) = fs::read_dir(folder) else { return false };
        let names = entries.flatten().filter_map(|entry| {
            let file = entry.file_name().into_string().ok()?;
            file.strip_suffix(".sock").filter(|name| locks::is_name(name)).map(str::to_owned)
        });
        let names: Vec<_> = names.filter(|name| Some(name) != self.me.as_ref()).collect();
        self.peers.retain(|known, _| names.contains(known));
        let Some(reach) = &self.reach else { return false };
        for name in names {
            if !self.peers.contains_key(&name)
                && let Ok(socket) = connect(&reach.path(&name))
            {
                self.peers.insert(name, socket);
            }
        }
        self.listed = Some((stamp, now));
        true
    }
}

fn connect(path: &Path) -> io::Result<Own<UnixDatagram>> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Own::new(socket)
}

/// Whether a process has a socket where the others look for it.
pub(super) fn is_found(folder: &Path, name: &str) -> bool {
    socket_path(folder, name).exists()
}

pub(super) fn socket_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.sock"))
}

/// A way to name sockets in a folder whose path may be longer than a socket's may be.
#[derive(Debug)]
struct Reach {
    folder: PathBuf,
    /// Keeps the short way open.
    _open: Option<Own<fs::File>>,
}

impl Reach {
    fn of(folder: &Path) -> io::Result<Self> {
        if socket_path(folder, &"0".repeat(32)).as_os_str().len() <= LONGEST_PATH {
            return Ok(Self { folder: folder.to_owned(), _open: None });
        }
        let open = fs::File::open(folder)?;
        let short = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
        Ok(Self { folder: short, _open: Some(Own::new(open)?) })
    }

    fn path(&self, name: &str) -> PathBuf {
        socket_path(&self.folder, name)
    }
}
