//! How a store is opened.

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// Power loss: each group of writes is on disk (`fdatasync`) before it is acknowledged.
    #[default]
    Full,
    /// A crash of the process. Power loss may take the newest writes, but never leaves half of one.
    Normal,
    /// A crash of the process. Power loss may damage the file: for tests and data that can be made again.
    Off,
}

/// How a [`SqliteStore`](crate::SqliteStore) is opened; the default suits most.
///
/// # Example
///
/// ```
/// use onward_sqlite::{Durability, Options};
///
/// let options = Options::new().durability(Durability::Normal).readers(4);
/// assert_eq!(options, options.clone());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub(crate) durability: Durability,
    pub(crate) readers: usize,
    pub(crate) queue_len: usize,
    pub(crate) cache_kib: u32,
    pub(crate) wal_pages: u32,
    pub(crate) pages_max: Option<u32>,
    pub(crate) schema_unchanged: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Full,
            readers: 2,
            queue_len: 16_384,
            cache_kib: 16 * 1024,
            wal_pages: 8_192,
            pages_max: None,
            schema_unchanged: false,
        }
    }
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// What an acknowledged write survives; [`Durability::Full`] by default.
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How many threads read, at least 1; 2 by default.
    pub const fn readers(mut self, readers: usize) -> Self {
        self.readers = if readers == 0 { 1 } else { readers };
        self
    }

    /// How many writes may wait, and how many reads; 16,384 by default. One more is refused at once with
    /// [`StoreError::Unavailable`](onward_core::StoreError::Unavailable).
    pub const fn queue_len(mut self, queue_len: usize) -> Self {
        self.queue_len = queue_len;
        self
    }

    /// The most memory that the writer keeps pages in, in KiB; 16 MiB by default. What it does not hold the system does;
    /// a large cache makes each commit slower.
    pub const fn cache_kib(mut self, cache_kib: u32) -> Self {
        self.cache_kib = cache_kib;
        self
    }

    /// How many pages of 4 KiB the write-ahead log may have before it is copied into the database; 8,192 by default.
    pub const fn wal_pages(mut self, wal_pages: u32) -> Self {
        self.wal_pages = if wal_pages == 0 { 1 } else { wal_pages };
        self
    }

    /// How many pages of 4 KiB the database may have; past it writes are refused as on a full disk. Unlimited by
    /// default.
    pub const fn pages_max(mut self, pages_max: u32) -> Self {
        self.pages_max = Some(pages_max);
        self
    }

    /// Opens the store of a file without changing its schema, for an operator in place of the app that owns it.
    ///
    /// A file that is not there, one without a store, and one whose schema is older or newer than this release's, is
    /// [`StoreError::Misconfigured`](onward_core::StoreError::Misconfigured). A store in memory is made all the same.
    ///
    /// ```
    /// use onward_sqlite::{Options, SqliteStore};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("app.db");
    /// assert!(SqliteStore::open(&path, Options::new().schema_unchanged()).is_err(), "there is no file yet");
    /// drop(SqliteStore::open(&path, Options::new())?);
    /// let store = SqliteStore::open(&path, Options::new().schema_unchanged())?;
    /// # drop(store);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn schema_unchanged(mut self) -> Self {
        self.schema_unchanged = true;
        self
    }
}
