//! A server's folder: its data, its socket, its log.

use std::{
    env,
    fs::{self, DirBuilder, File, Permissions},
    os::unix::{
        fs::{DirBuilderExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::unistd::{User, geteuid};

use crate::postgres::{draw, options::PostgresOptions};

/// Removed when it is dropped, unless it was left to others.
pub(super) struct Folder {
    path: PathBuf,
    programs: PathBuf,
    /// PostgreSQL refuses to run as root: it then runs as this user.
    user: Option<(u32, u32)>,
    left: bool,
}

impl Folder {
    pub(super) fn create(programs: PathBuf) -> Result<Self, String> {
        let user = if geteuid().is_root() { Some(other_user()?) } else { None };
        let name = format!("onward-postgres-{}-{:08x}", std::process::id(), draw() & 0xffff_ffff);
        let path = parent().join(name);
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| format!("{}: {error}", path.display()))?;
        let folder = Self { path, programs, user, left: false };
        folder.own(&folder.path)?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Makes the data of a new server, and returns the arguments that follow from the options.
    pub(super) fn fill(&self, options: &PostgresOptions) -> Result<Vec<String>, String> {
        let mut initdb = self.command("initdb");
        initdb.args(["--username=postgres", "--encoding=UTF8", "--locale=C"]);
        initdb.arg("--pgdata").arg(self.data()).args(["--auth", options.method()]);
        if !options.fsync {
            initdb.arg("--no-sync");
        }
        if let Some(password) = &options.password {
            let file = self.secret("password", password.as_bytes())?;
            initdb.arg("--pwfile").arg(file);
        }
        let output = initdb.output().map_err(|error| format!("initdb: {error}"))?;
        if !output.status.success() {
            return Err(format!("initdb ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
        }
        let Some((certificate, key)) = &options.tls else { return Ok(Vec::new()) };
        let read = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        let certificate = self.secret("server.crt", &read(certificate)?)?;
        let key = self.secret("server.key", &read(key)?)?;
        let method = options.method();
        let rules = format!("local all all {method}\nhostssl all all 127.0.0.1/32 {method}\n");
        let rules = self.secret("rules", rules.as_bytes())?;
        let settings = [("ssl_cert_file", certificate), ("ssl_key_file", key), ("hba_file", rules)];
        let settings = settings.into_iter().map(|(name, path)| format!("{name}={}", path.display()));
        let settings = settings.chain(["ssl=on".to_owned()]);
        Ok(settings.flat_map(|setting| ["-c".to_owned(), setting]).collect())
    }

    /// One of PostgreSQL's programs, run as a user that it accepts.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        // It may not be allowed to look at where we are.
        command.current_dir(&self.path).stdin(Stdio::null()).env("LC_ALL", "C").env_remove("PGDATA");
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    pub(super) const fn is_left(&self) -> bool {
        self.left
    }

    /// Somebody else removes it.
    pub(super) const fn leave(&mut self) {
        self.left = true;
    }

    pub(super) fn remove(&self) {
        let _ = fs::remove_dir_all(&self.path);
    }

    /// A file that the server may read, and nobody else.
    fn secret(&self, name: &str, content: &[u8]) -> Result<PathBuf, String> {
        let path = self.path.join(name);
        let written =
            fs::write(&path, content).and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o600)));
        written.map_err(|error| format!("{}: {error}", path.display()))?;
        self.own(&path)?;
        Ok(path)
    }

    fn own(&self, path: &Path) -> Result<(), String> {
        let Some((user, group)) = self.user else { return Ok(()) };
        chown(path, Some(user), Some(group)).map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.left {
            self.remove();
        }
    }
}

/// A new file with a lock on it that goes with us.
pub(super) fn locked(path: &Path) -> Result<File, String> {
    let file = File::create(path).and_then(|file| file.lock().map(|()| file));
    file.map_err(|error| format!("{}: {error}", path.display()))
}

/// Where folders are made. The name of a Unix socket has at most 107 bytes.
fn parent() -> PathBuf {
    let given = env::temp_dir();
    if given.as_os_str().len() > 48 { PathBuf::from("/tmp") } else { given }
}

/// Who runs the server when we are root.
fn other_user() -> Result<(u32, u32), String> {
    let found = ["postgres", "nobody"].into_iter().find_map(|name| User::from_name(name).ok().flatten());
    let user = found.ok_or("PostgreSQL does not run as root, and there is no user `postgres` or `nobody`")?;
    Ok((user.uid.as_raw(), user.gid.as_raw()))
}
