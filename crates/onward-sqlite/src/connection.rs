//! Opening: the lock, the file, the connections.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use onward_core::StoreError;
use rusqlite::{Connection, OpenFlags};

use crate::{
    error::{misconfigured, opening_error, store_error, unavailable},
    migrate::{check, migrate},
    options::{Durability, Options},
};

/// A page of the log, with its header.
const FRAME_BYTES: u64 = 4096 + 24;

/// Where the database is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In the memory of the writer's connection.
    Memory,
    /// In a file.
    File(PathBuf),
}

/// The path of a file beside the database.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn io_error(what: &str, path: &Path, error: &io::Error) -> StoreError {
    let text = format!("{what} {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::Interrupted | io::ErrorKind::ResourceBusy | io::ErrorKind::StorageFull => unavailable(text),
        _ => misconfigured(text),
    }
}

/// Makes a directory and those above it; the names of the new ones are on disk then.
fn make_directory(dir: &Path) -> io::Result<()> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    let above = dir.parent().unwrap_or(Path::new(""));
    make_directory(above)?;
    match std::fs::create_dir(dir) {
        // Another process may have been faster; whether its name is on disk is not known.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !dir.is_dir() => return Err(error),
        _ => {}
    }
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    File::open(above)?.sync_all()
}

/// Takes the database for this process; it stays taken while the file is open.
pub(crate) fn lock(path: &Path) -> Result<File, StoreError> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        make_directory(dir).map_err(|error| io_error("cannot make the directory", dir, &error))?;
    }
    let path = beside(path, "-lock");
    let file = for_owner()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| io_error("cannot open the lock file", &path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(unavailable(
            "database is in use by another process: only one can have the file open, so stop that one first",
        )),
        Err(TryLockError::Error(error)) => Err(io_error("cannot lock", &path, &error)),
    }
}

/// Options for a new file that only its owner reads and writes, because requests, outputs and the token key are in it.
fn for_owner() -> OpenOptions {
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes the database's file, where there is none. The files that SQLite makes beside it get the same permissions.
fn make_file(path: &Path) -> Result<(), StoreError> {
    match for_owner().create_new(true).write(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(io_error("cannot make", path, &error)),
    }
}

fn open(place: &Place) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = match place {
        Place::Memory => Connection::open_in_memory_with_flags(flags)?,
        Place::File(path) => Connection::open_with_flags(path, flags)?,
    };
    conn.set_prepared_statement_cache_capacity(96);
    conn.busy_timeout(Duration::from_secs(5))?;
    Ok(conn)
}

/// Refuses a file that is not there where none may be made.
pub(crate) fn check_file(path: &Path, options: &Options) -> Result<(), StoreError> {
    if options.schema_unchanged && !path.exists() {
        return Err(misconfigured(format!("there is no file {}: name the file of a store", path.display())));
    }
    Ok(())
}

/// The connection that writes, with the newest schema.
pub(crate) fn writer(place: &Place, options: &Options) -> Result<Connection, StoreError> {
    let opening = |error| match place {
        Place::File(path) => opening_error(path, error),
        Place::Memory => store_error(error),
    };
    let is_checked = options.schema_unchanged && matches!(place, Place::File(_));
    if let Place::File(path) = place
        && !is_checked
    {
        make_file(path)?;
    }
    let conn = open(place).map_err(opening)?;
    // Before anything is set, because the file may belong to another application.
    if is_checked {
        check(&conn)?;
    }
    if let Place::File(path) = place {
        let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(opening)?;
        if !mode.eq_ignore_ascii_case("wal") {
            let why = format!("{}: the file system cannot keep a write-ahead log; use a local disk", path.display());
            return Err(misconfigured(why));
        }
    }
    // Full, too, is NORMAL for SQLite: the writer brings the log to disk itself, while the next group is applied.
    let synchronous = if options.durability == Durability::Off { "OFF" } else { "NORMAL" };
    // 2^32 - 2 pages are all that SQLite can number.
    let pages_max = options.pages_max.unwrap_or(u32::MAX - 1);
    let pragmas = format!(
        "PRAGMA synchronous = {synchronous}; PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY; \
         PRAGMA foreign_keys = ON; PRAGMA cache_size = -{}; PRAGMA max_page_count = {pages_max};",
        options.cache_kib
    );
    conn.execute_batch(&pragmas).map_err(store_error)?;
    if !is_checked {
        migrate(&conn)?;
    }
    Ok(conn)
}

/// A connection that only reads.
pub(crate) fn reader(place: &Place) -> Result<Connection, StoreError> {
    let conn = open(place).map_err(store_error)?;
    conn.execute_batch("PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -8192;")
        .map_err(store_error)?;
    Ok(conn)
}

/// A connection that copies the write-ahead log into the database.
pub(crate) fn checkpointer(place: &Place, options: &Options) -> Result<Connection, StoreError> {
    let conn = open(place).map_err(store_error)?;
    let synchronous = if options.durability == Durability::Off { "OFF" } else { "NORMAL" };
    conn.execute_batch(&format!("PRAGMA synchronous = {synchronous}; PRAGMA wal_autocheckpoint = 0;"))
        .map_err(store_error)?;
    Ok(conn)
}

/// Brings the names of new files to disk.
pub(crate) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| io_error("cannot sync the directory", dir, &error))
}

/// Fills the log's file with zeros up to `pages`, which SQLite takes for its end: bringing an overwrite to disk takes
/// half the time of an append.
pub(crate) fn fill_log(mut log: &File, pages: u32) -> io::Result<()> {
    let from = log.seek(SeekFrom::End(0))?;
    let len = (u64::from(pages) * FRAME_BYTES).saturating_sub(from);
    io::copy(&mut io::repeat(0).take(len), &mut log)?;
    log.sync_all()
}

/// Copies what it can of the log into the database; gives how many pages the log has, and how many are copied.
pub(crate) fn checkpoint_log(conn: &Connection) -> rusqlite::Result<(u32, u32)> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        let pages = |column| row.get::<_, i64>(column).map(|pages| u32::try_from(pages).unwrap_or(0));
        Ok((pages(1)?, pages(2)?))
    })
}
