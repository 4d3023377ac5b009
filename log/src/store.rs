//! The RocksDB database of a log: where it lies, how it is opened, its options.
//!
//! Owns paths, permissions, the writer's lock and every RocksDB setting. It knows nothing of what
//! the values mean. The invariant: the database is only ever opened with the options given here.
//! RocksDB's own OPTIONS file is never read.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBPinnableSlice, DBRawIterator, DBRecoveryMode, LogLevel, Options, ReadOptions, WriteBatch,
    WriteOptions,
};
use rustix::fs::{FlockOperation, Mode, flock};

use crate::error::Error;
use crate::framing;
use crate::keys::{BASE, CHANGES, FAMILIES, META, PENDING, RELATIONS};

/// The database's directory in the log's directory.
const DATABASE: &str = "db";

/// A database being created. Renamed last, so that a log is there whole or not at all.
const DATABASE_UNFINISHED: &str = "db.new";

/// The lock is also held for a moment by whoever asks whether a log is being written, and by a process
/// that is just ending.
const LOCK_PATIENCE: Duration = Duration::from_millis(300);

const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Held by the process that writes.
const LOCK: &str = "lock";

/// All memtables together. A follower holds the writer's unflushed memtables a second time, and
/// each of the two processes has 300 MB in all.
const ALL_MEMTABLES_BYTES: usize = 32 << 20;

/// One memtable: a quarter, so that filling one never waits for flushing another.
const MEMTABLE_BYTES: usize = 8 << 20;

/// Values are read once and in order; the cache is for index blocks that are not pinned.
const BLOCK_CACHE_BYTES: usize = 4 << 20;

/// The `meta` family hardly ever fills a memtable, and would keep every write-ahead log from its
/// last flush on. This bounds recovery, too.
const ALL_WALS_BYTES: u64 = 64 << 20;

/// The kernel is asked to write back this much at a time, or a sync would pay for all of it.
const BYTES_PER_SYNC: u64 = 1 << 20;

/// RocksDB sets aside 4 MB for its list of files, which in a small log is most of the log.
const MANIFEST_PREALLOCATION_BYTES: usize = 64 << 10;

/// RocksDB's own diagnostics.
const INFO_LOG_BYTES: usize = 1 << 20;

/// How to open.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role<'a> {
    /// A new database.
    Create,
    /// The only writer.
    Writer(Recovery),
    /// Follows a writer, or reads what one left. Needs a directory of its own.
    Follower(&'a Path),
    /// Reads what a writer left, strictly. Needs a directory for diagnostics.
    ReadOnly(Recovery, &'a Path),
}

/// What to make of a write-ahead log that does not end cleanly.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Recovery {
    /// Only a record cut short at the end is left out; anything else is an error. RocksDB's default
    /// would silently drop all acknowledged records after damage in the middle.
    TornTail,
    /// Everything from the first damage on is left out. Only after the durable mark has shown that
    /// nothing it covers would be.
    CutAtDamage,
}

/// The database, open.
pub(crate) struct Store {
    db: DB,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.db.path()).finish_non_exhaustive()
    }
}

/// RocksDB has no kind of its own for a file that is not there.
fn is_missing_file(error: &rocksdb::Error) -> bool {
    error.kind() == rocksdb::ErrorKind::IOError
        && error.as_ref().contains("No such file or directory")
}

impl Store {
    /// Opens the database at `path`, which is not the log's directory but [`database`] in it.
    pub(crate) fn open(path: &Path, role: Role<'_>) -> Result<Store, Error> {
        if !matches!(role, Role::Create) {
            framing::refuse_recycled(path)?;
        }
        let options = database_options(role);
        let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
        let families =
            FAMILIES.map(|name| ColumnFamilyDescriptor::new(name, family_options(&cache)));
        // The default family exists in every database and stays empty.
        let families = families
            .into_iter()
            .chain([ColumnFamilyDescriptor::new("default", family_options(&cache))]);
        let opened = match role {
            Role::Create | Role::Writer(_) => DB::open_cf_descriptors(&options, path, families),
            Role::Follower(own) => {
                DB::open_cf_descriptors_as_secondary(&options, path, own, families)
            }
            Role::ReadOnly(..) => {
                DB::open_cf_descriptors_read_only(&options, path, families, false)
            }
        };
        // Nobody else removes files while a writer or a reader of what it left is there.
        let alone = matches!(role, Role::Writer(_) | Role::ReadOnly(..));
        opened.map(|db| Store { db }).map_err(|error| match alone && is_missing_file(&error) {
            true => Error::corrupt(format!("the database ({error})")),
            false => Error::storage("opening")(error),
        })
    }

    pub(crate) fn db(&self) -> &DB {
        &self.db
    }

    pub(crate) fn meta(&self) -> &ColumnFamily {
        self.family(META)
    }

    pub(crate) fn relations(&self) -> &ColumnFamily {
        self.family(RELATIONS)
    }

    pub(crate) fn changes(&self) -> &ColumnFamily {
        self.family(CHANGES)
    }

    pub(crate) fn pending(&self) -> &ColumnFamily {
        self.family(PENDING)
    }

    pub(crate) fn base(&self) -> &ColumnFamily {
        self.family(BASE)
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("all families are opened with the database")
    }

    /// The value under a key.
    pub(crate) fn get(
        &self,
        family: &ColumnFamily,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<DBPinnableSlice<'_>>, Error> {
        self.db.get_pinned_cf_opt(family, key, &read_options()).map_err(Error::storage("read"))
    }

    /// An iterator, not yet anywhere. After it turns invalid ask its status: an error ends it too.
    pub(crate) fn iterate(&self, family: &ColumnFamily) -> DBRawIterator<'_> {
        self.db.raw_iterator_cf_opt(family, read_options())
    }

    /// Writes all of `batch` or nothing.
    pub(crate) fn write(&self, batch: WriteBatch, sync: bool) -> Result<(), Error> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(batch, &options).map_err(Error::storage("write"))
    }

    /// Moves everything from memory to files, after which no write-ahead log is needed.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        for name in FAMILIES {
            self.db.flush_cf(self.family(name)).map_err(Error::storage("flush"))?;
        }
        Ok(())
    }
}

/// Whether an iterator stands on an entry; its error, if that is what ended it.
pub(crate) fn on_entry(iterator: &DBRawIterator<'_>) -> Result<bool, Error> {
    match iterator.valid() {
        true => Ok(true),
        false => iterator.status().map(|()| false).map_err(Error::storage("read")),
    }
}

fn read_options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    options.fill_cache(false);
    options
}

fn database_options(role: Role<'_>) -> Options {
    let mut options = Options::default();
    options.create_if_missing(matches!(role, Role::Create));
    options.create_missing_column_families(matches!(role, Role::Create));
    options.set_paranoid_checks(true);
    options.set_max_open_files(-1);
    options.set_skip_stats_update_on_db_open(true);
    options.set_stats_dump_period_sec(0);
    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(INFO_LOG_BYTES);
    options.set_keep_log_file_num(2);
    options.set_db_write_buffer_size(ALL_MEMTABLES_BYTES);
    options.set_max_total_wal_size(ALL_WALS_BYTES);
    options.set_bytes_per_sync(BYTES_PER_SYNC);
    options.set_wal_bytes_per_sync(BYTES_PER_SYNC);
    options.set_max_background_jobs(2);
    options.set_manifest_preallocation_size(MANIFEST_PREALLOCATION_BYTES);
    // A flush of one family must not wait for the others (RocksDB issue 14439).
    options.set_atomic_flush(false);
    let recovery = match role {
        Role::Writer(recovery) | Role::ReadOnly(recovery, _) => recovery,
        Role::Create | Role::Follower(_) => Recovery::TornTail,
    };
    options.set_wal_recovery_mode(match recovery {
        Recovery::TornTail => DBRecoveryMode::TolerateCorruptedTailRecords,
        Recovery::CutAtDamage => DBRecoveryMode::PointInTime,
    });
    match role {
        Role::Create | Role::Writer(_) => {
            // A write-ahead log that went missing whole is then an error at opening.
            options.set_track_and_verify_wals_in_manifest(true);
        }
        // The default of 16 threads for each family at each catch-up costs twenty times as much.
        Role::Follower(_) => options.set_max_file_opening_threads(1),
        Role::ReadOnly(_, diagnostics) => {
            options.set_track_and_verify_wals_in_manifest(true);
            options.set_max_file_opening_threads(1);
            options.set_db_log_dir(diagnostics);
        }
    }
    options
}

/// Named families take their options from their descriptor, not from the database's.
fn family_options(cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    // Values are compressed already.
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(MEMTABLE_BYTES);
    options.set_max_write_buffer_number(4);
    options
}

/// The database of the log in `dir`.
pub(crate) fn database(dir: &Path) -> PathBuf {
    dir.join(DATABASE)
}

/// A database that [`finish_creation`] will put in place.
pub(crate) fn unfinished_database(dir: &Path) -> PathBuf {
    dir.join(DATABASE_UNFINISHED)
}

/// Whether `dir` holds a log.
pub(crate) fn holds_log(dir: &Path) -> bool {
    database(dir).is_dir()
}

/// Makes the directory for a new log, or takes one that holds none, and clears an unfinished one.
pub(crate) fn begin_creation(dir: &Path) -> Result<(), Error> {
    keep_files_private();
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(Error::io("create", dir))?;
    if holds_log(dir) {
        return Err(Error::Exists { dir: dir.to_owned() });
    }
    refuse_exposed(dir)?;
    let unfinished = unfinished_database(dir);
    remove(fs::remove_dir_all(&unfinished), &unfinished)?;
    let mark = dir.join(crate::mark::FILE);
    remove(fs::remove_file(&mark), &mark)?;
    DirBuilder::new().mode(0o700).create(&unfinished).map_err(Error::io("create", &unfinished))
}

/// Puts a database in place: from now on `dir` holds a log.
pub(crate) fn finish_creation(dir: &Path) -> Result<(), Error> {
    let unfinished = unfinished_database(dir);
    fs::rename(&unfinished, database(dir)).map_err(Error::io("rename", &unfinished))?;
    crate::applied::sync_directory(dir)
}

fn remove(result: std::io::Result<()>, path: &Path) -> Result<(), Error> {
    match result {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// RocksDB creates files at any time and from its own threads, with whatever the process allows.
/// The log holds row data, so this process makes no file that others can read.
pub(crate) fn keep_files_private() {
    rustix::process::umask(Mode::from_raw_mode(0o077));
}

/// A directory others may write into could be swapped under us.
pub(crate) fn refuse_exposed(dir: &Path) -> Result<(), Error> {
    let mode = fs::metadata(dir).map_err(Error::io("look at", dir))?.permissions().mode();
    match mode & 0o022 {
        0 => Ok(()),
        _ => Err(Error::Exposed { dir: dir.to_owned(), mode: mode & 0o7777 }),
    }
}

/// Takes the writer's lock; it is held as long as the file is open.
pub(crate) fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    let since = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if since.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(Error::Locked { dir: dir.to_owned() });
            }
            Err(error) => return Err(Error::io("lock", &path)(error.into())),
        }
    }
}

/// Whether a process has the log open for writing at this moment.
pub(crate) fn is_being_written(dir: &Path) -> bool {
    let Ok(file) = File::open(dir.join(LOCK)) else { return false };
    flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
}
