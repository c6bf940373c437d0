//! One server for every test process of a user.

use std::{
    env,
    fs::{self, DirBuilder, File},
    io,
    net::TcpStream,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use nix::unistd::geteuid;

use super::{options::PostgresOptions, or_panic, server::PostgresServer, watchdog::Watchdog};

/// For how long the server outlives the last of its users: the next test's process may be about to start.
const LINGER: Duration = Duration::from_secs(20);

/// The server that test processes share; see [`PostgresServer::shared`].
#[derive(Debug)]
pub struct SharedPostgres {
    url: String,
    /// Shared with all who use the server; the system lets go of it when we end, however that is.
    _used: Option<File>,
}

impl SharedPostgres {
    /// The URL of a database on it.
    ///
    /// # Example
    ///
    /// ```
    /// use onward_testing::postgres::PostgresServer;
    ///
    /// let url = PostgresServer::shared().url();
    /// # drop(url);
    /// ```
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Uses the server that is told of in this folder, or starts it. The folder must be ours.
    pub(super) fn in_folder(folder: &Path, linger: Duration) -> Result<Self, String> {
        create(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let lock = folder.join("users");
        // From here on the watchdog of a server that is up keeps it up.
        let used = File::create(&lock).and_then(|file| file.lock_shared().map(|()| file));
        let used = used.map_err(|error| format!("{}: {error}", lock.display()))?;
        let first = folder.join("start");
        let first = File::create(&first).and_then(|file| file.lock().map(|()| file));
        let first = first.map_err(|error| format!("{}: {error}", folder.display()))?;
        let told = folder.join("server");
        let url = match running(&told) {
            Some(url) => url,
            None => start(&Watchdog { lock: &lock, linger, told: Some(&told) }, &told)?,
        };
        drop(first);
        Ok(Self { url, _used: Some(used) })
    }
}

/// The server of this user, once a process.
#[track_caller]
pub(super) fn of_this_user() -> &'static SharedPostgres {
    static SERVER: OnceLock<Result<SharedPostgres, String>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        if let Some(url) = env::var_os("DATABASE_URL").filter(|url| !url.is_empty()) {
            let url = url.into_string().map_err(|_| "DATABASE_URL is not UTF-8")?;
            return Ok(SharedPostgres { url, _used: None });
        }
        // Of this version: another one may want another server.
        let name = format!("onward-postgres-shared-{}-{}", geteuid(), env!("CARGO_PKG_VERSION"));
        SharedPostgres::in_folder(&env::temp_dir().join(name), LINGER)
    });
    or_panic(server.as_ref())
}

/// The folder's name can be foretold, so somebody else could have made it.
fn create(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    let found = fs::symlink_metadata(folder)?;
    if found.is_dir() && found.uid() == geteuid().as_raw() {
        Ok(())
    } else {
        Err(io::Error::other("another user made this folder"))
    }
}

/// The server that is told of, if it is still there: the machine may have been started anew.
fn running(told: &Path) -> Option<String> {
    let text = fs::read_to_string(told).ok()?;
    let mut lines = text.lines();
    let (url, port, folder) = (lines.next()?, lines.next()?.parse::<u16>().ok()?, PathBuf::from(lines.next()?));
    let is_up = TcpStream::connect(("127.0.0.1", port)).is_ok() && folder.join("data/postmaster.pid").exists();
    is_up.then(|| url.to_owned())
}

fn start(watchdog: &Watchdog<'_>, told: &Path) -> Result<String, String> {
    let options = PostgresOptions::new().max_connections(300);
    let server = PostgresServer::try_start(&options, Some(watchdog))?;
    let url = server.url();
    let text = format!("{url}\n{}\n{}\n", server.port(), server.socket_folder().display());
    // Nobody reads it meanwhile, and a half-written one tells of no server.
    fs::write(told, text).map_err(|error| format!("{}: {error}", told.display()))?;
    server.leave();
    Ok(url)
}
