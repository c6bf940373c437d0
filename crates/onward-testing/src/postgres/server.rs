//! One server, and its process.

mod folder;
mod process;

use std::{
    fmt,
    fs::File,
    path::{Path, PathBuf},
    process::Child,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::sys::signal::Signal;

use self::{folder::Folder, process::Process};
use super::{
    options::PostgresOptions,
    or_panic, programs,
    shared::{self, SharedPostgres},
    watchdog::Watchdog,
};

/// A PostgreSQL server of its own: a fresh folder, a free port of this machine, and a process.
///
/// When it is dropped the process ends and the folder is removed; when its process is killed a watchdog does both.
///
/// # Example
///
/// ```
/// use onward_testing::postgres::{PostgresOptions, PostgresServer};
///
/// let server = PostgresServer::start(&PostgresOptions::new());
/// server.query("CREATE TABLE orders (id int)");
/// server.query("INSERT INTO orders VALUES (7)");
/// server.restart_immediate();
/// assert_eq!(server.query("SELECT id FROM orders"), "7");
/// ```
pub struct PostgresServer {
    folder: Folder,
    port: u16,
    arguments: Vec<String>,
    password: Option<String>,
    process: Mutex<Option<Process>>,
    watchdog: Mutex<Child>,
    /// Held for as long as this lives, for the watchdog; not where others hold it too.
    alive: Option<File>,
}

impl PostgresServer {
    /// Makes a server and waits until it accepts connections; that takes about a second.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use onward_testing::postgres::{PostgresOptions, PostgresServer};
    ///
    /// let server = PostgresServer::start(&PostgresOptions::new().fsync(true));
    /// assert!(server.url().starts_with("postgres://"));
    /// ```
    #[track_caller]
    pub fn start(options: &PostgresOptions) -> Self {
        or_panic(Self::try_start(options, None))
    }

    /// The server that all test processes of this user share, or the one that `DATABASE_URL` names.
    ///
    /// The first process that asks starts it. Each holds a lock until it ends, in whatever way; when nobody has held
    /// the lock for 20 seconds the server is stopped and its folder removed.
    ///
    /// # Example
    ///
    /// ```
    /// use onward_testing::postgres::PostgresServer;
    ///
    /// assert!(PostgresServer::shared().url().contains("://"));
    /// ```
    #[track_caller]
    pub fn shared() -> &'static SharedPostgres {
        shared::of_this_user()
    }

    /// As [`start`](Self::start), watched as told, or else for as long as this lives.
    pub(super) fn try_start(options: &PostgresOptions, watchdog: Option<&Watchdog<'_>>) -> Result<Self, String> {
        let programs = programs::server()?;
        let folder = Folder::create(programs)?;
        let own = folder.path().join("lock");
        let alive = if watchdog.is_none() { Some(folder::locked(&own)?) } else { None };
        let own = Watchdog { lock: &own, linger: Duration::ZERO, told: None };
        // Before anything runs that would be left over.
        let watchdog = watchdog.unwrap_or(&own).start(folder.path())?;
        let mut server = Self {
            folder,
            port: 0,
            arguments: options.arguments(),
            password: options.password.clone(),
            process: Mutex::new(None),
            watchdog: Mutex::new(watchdog),
            alive,
        };
        server.arguments.extend(server.folder.fill(options)?);
        loop {
            server.port = process::free_port()?;
            match server.run() {
                // Between the choice and the start somebody else took the port.
                Err(error) if error.contains("Address already in use") => {}
                run => return run.map(|()| server),
            }
        }
    }

    /// The URL of its database `postgres`, for the user `postgres`, who may do everything.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use onward_testing::postgres::{PostgresOptions, PostgresServer};
    ///
    /// let server = PostgresServer::start(&PostgresOptions::new());
    /// assert_eq!(server.url(), format!("postgres://postgres@127.0.0.1:{}/postgres", server.port()));
    /// ```
    pub fn url(&self) -> String {
        let password = self.password.as_ref().map(|password| format!(":{}", encoded(password))).unwrap_or_default();
        format!("postgres://postgres{password}@127.0.0.1:{}/postgres", self.port)
    }

    /// The port it listens on, at 127.0.0.1.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use onward_testing::postgres::{PostgresOptions, PostgresServer};
    ///
    /// assert_ne!(PostgresServer::start(&PostgresOptions::new()).port(), 0);
    /// ```
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its Unix socket.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use onward_testing::postgres::{PostgresOptions, PostgresServer};
    ///
    /// let server = PostgresServer::start(&PostgresOptions::new());
    /// let socket = server.socket_folder().join(format!(".s.PGSQL.{}", server.port()));
    /// assert!(socket.exists());
    /// ```
    pub fn socket_folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it logs.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use onward_testing::postgres::{PostgresOptions, PostgresServer};
    ///
    /// let server = PostgresServer::start(&PostgresOptions::new());
    /// let log = std::fs::read_to_string(server.log()).unwrap();
    /// assert!(log.contains("ready to accept connections"));
    /// ```
    pub fn log(&self) -> PathBuf {
        self.folder.log()
    }

    /// The number of its process, which has those of its connections below it; none while it is stopped.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use onward_testing::postgres::{PostgresOptions, PostgresServer};
    ///
    /// let server = PostgresServer::start(&PostgresOptions::new());
    /// assert!(server.pid().is_some());
    /// ```
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Process::pid)
    }

    /// Runs SQL with `psql` and returns what it gives: a line a row, with `|` between columns.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use onward_testing::postgres::{PostgresOptions, PostgresServer};
    ///
    /// let server = PostgresServer::start(&PostgresOptions::new());
    /// assert_eq!(server.query("SELECT 1, 'a'"), "1|a");
    /// ```
    #[track_caller]
    pub fn query(&self, sql: &str) -> String {
        or_panic(programs::psql(&self.url(), sql))
    }

    /// Stops it in order: what runs is rolled back, and nothing is left to recover. The data stays.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use onward_testing::postgres::{PostgresOptions, PostgresServer};
    ///
    /// let server = PostgresServer::start(&PostgresOptions::new());
    /// server.stop();
    /// assert_eq!(server.pid(), None);
    /// server.start_again();
    /// ```
    pub fn stop(&self) {
        self.end(Signal::SIGINT);
    }

    /// Stops it at once, as a crash would: at its next start it recovers from its log.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use onward_testing::postgres::{PostgresOptions, PostgresServer};
    ///
    /// let server = PostgresServer::start(&PostgresOptions::new());
    /// server.stop_immediate();
    /// assert_eq!(server.pid(), None);
    /// ```
    pub fn stop_immediate(&self) {
        self.end(Signal::SIGQUIT);
    }

    /// Starts it again after a stop, on the same data and port, and waits until it accepts connections.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use onward_testing::postgres::{PostgresOptions, PostgresServer};
    ///
    /// let server = PostgresServer::start(&PostgresOptions::new());
    /// server.stop_immediate();
    /// server.start_again();
    /// assert_eq!(server.query("SELECT 1"), "1");
    /// ```
    #[track_caller]
    pub fn start_again(&self) {
        or_panic(self.run());
    }

    /// [`stop_immediate`](Self::stop_immediate) and [`start_again`](Self::start_again): as after a crash.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use onward_testing::postgres::{PostgresOptions, PostgresServer};
    ///
    /// let server = PostgresServer::start(&PostgresOptions::new());
    /// server.restart_immediate();
    /// assert_eq!(server.query("SELECT 1"), "1");
    /// ```
    #[track_caller]
    pub fn restart_immediate(&self) {
        self.stop_immediate();
        self.start_again();
    }

    /// Lets it run when this is dropped: its watchdog alone ends it.
    pub(super) fn leave(mut self) {
        self.process().take();
        self.folder.leave();
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) -> Result<(), String> {
        let mut process = self.process();
        if process.is_none() {
            *process = Some(Process::start(&self.folder, self.port, &self.arguments)?);
        }
        Ok(())
    }

    fn end(&self, signal: Signal) {
        if let Some(process) = self.process().take() {
            process.end(signal);
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if self.folder.is_left() {
            return;
        }
        self.stop_immediate();
        self.folder.remove();
        // The watchdog gets the lock, has nothing to do, and ends.
        if self.alive.take().is_some() {
            let watchdog = self.watchdog.get_mut().unwrap_or_else(PoisonError::into_inner);
            let _ = watchdog.wait();
        }
    }
}

impl fmt::Debug for PostgresServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresServer")
            .field("port", &self.port)
            .field("folder", &self.folder.path())
            .finish_non_exhaustive()
    }
}

/// A password as it stands in a URL.
fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric();
    text.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
