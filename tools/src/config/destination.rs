//! `[destination]`, or several `[destination.NAME]`.

use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU64, NonZeroUsize};

use pgtrail_applier::{Policies, Policy};
use pgtrail_postgres::Rate;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use super::units;

/// What the destination of the short form is called.
pub(super) const DEFAULT_NAME: &str = "default";

/// A database that is written.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    /// How to connect: libpq keywords or a URI, as for the source. Required. Since 0.1.
    pub conninfo: String,
    /// How much room there is for its data, where pgtrail cannot see the disk: `precheck` compares
    /// it with what the copy needs. Not known when left out. Since 0.1.
    #[serde(default, with = "units::optional_size")]
    pub disk_free: Option<u64>,
    /// What becomes of tables and rows that are there already: `"fail"` refuses to begin; `"keep"`
    /// leaves tables as they are, and a row where the copy has one with the same key, until a change
    /// overwrites it. Since 0.1.
    #[serde(default)]
    pub on_existing: OnExisting,
    /// What is done where a change and the destination's rows disagree.
    #[serde(default)]
    pub conflict: Conflict,
    /// How fast it is written.
    #[serde(default)]
    pub throttle: Throttle,
}

/// `[destination.throttle]` or `[destination.NAME.throttle]`
#[derive(Clone, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Throttle {
    /// How many tables of the copy are loaded at the same time, and how many indexes are made. Since
    /// 0.1.
    pub copy_jobs: NonZeroUsize,
    /// The most rows of the copy loaded in a second. No limit when left out. Since 0.1.
    pub copy_rows_per_second: Option<NonZeroU64>,
    /// The most bytes of rows of the copy loaded in a second. No limit when left out. Since 0.1.
    #[serde(with = "units::optional_size")]
    pub copy_bytes_per_second: Option<u64>,
}

impl Default for Throttle {
    fn default() -> Throttle {
        let copy_jobs = NonZeroUsize::new(2).expect("two is not zero");
        Throttle { copy_jobs, copy_rows_per_second: None, copy_bytes_per_second: None }
    }
}

impl Throttle {
    /// How fast rows may be loaded.
    pub(crate) fn rate(&self) -> Rate {
        let rows_per_second = self.copy_rows_per_second.map(NonZeroU64::get);
        Rate { rows_per_second, bytes_per_second: self.copy_bytes_per_second }
    }
}

/// What becomes of what is at the destination already.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnExisting {
    /// It is refused.
    #[default]
    Fail,
    /// It stays.
    Keep,
}

/// `[destination.conflict]`: what is done about each kind of conflict. The kinds are PostgreSQL's.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conflict {
    /// For kinds that are not named. `"error"`: the applier stops. Since 0.1.
    pub default: Resolution,
    /// An insert meets a row with the same key. `"error"`, or `"apply_remote"`: the source's row takes
    /// its place, which is the default with `on_existing = "keep"`. Since 0.1.
    pub insert_exists: Option<Resolution>,
    /// An update finds no row. `"error"`, or `"apply_remote"`: the source's row is added. Since 0.1.
    pub update_missing: Option<Resolution>,
}

/// What is done about a conflict.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// The applier stops.
    #[default]
    Error,
    /// The source's row wins.
    ApplyRemote,
}

impl Destination {
    /// What the applier is to do about conflicts.
    pub fn policies(&self) -> Policies {
        let policy =
            |given: Option<Resolution>, otherwise: Resolution| match given.unwrap_or(otherwise) {
                Resolution::Error => Policy::Error,
                Resolution::ApplyRemote => Policy::ApplyRemote,
            };
        let Conflict { default, insert_exists, update_missing } = self.conflict;
        // Rows that were kept are in the way of inserts that the copy does not hold.
        let of_inserts = match self.on_existing {
            OnExisting::Fail => default,
            OnExisting::Keep => Resolution::ApplyRemote,
        };
        Policies {
            insert_exists: policy(insert_exists, of_inserts),
            update_missing: policy(update_missing, default),
        }
    }

    /// What cannot be asked for.
    pub(super) fn check(&self) -> Result<(), String> {
        match self.conflict.default {
            Resolution::Error => Ok(()),
            Resolution::ApplyRemote => Err("conflict.default: \"apply_remote\" is known for \
                                            insert_exists and update_missing only; name them"
                .to_owned()),
        }
    }
}

/// The keys of the short form.
const KEYS: &[&str] = &["conninfo", "disk_free", "on_existing", "conflict", "throttle"];

/// Reads either form and refuses a mixture.
pub(super) fn deserialize<'de, D>(
    deserializer: D,
) -> Result<BTreeMap<String, Destination>, D::Error>
where
    D: Deserializer<'de>,
{
    deserializer.deserialize_map(Forms)
}

struct Forms;

impl<'de> Visitor<'de> for Forms {
    type Value = BTreeMap<String, Destination>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[destination] with a conninfo, or [destination.NAME] tables")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut short = Short::default();
        let mut named = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "conninfo" => short.conninfo = Some(map.next_value()?),
                "disk_free" => {
                    let size = units::parse_size(&map.next_value::<String>()?);
                    short.disk_free = Some(size.map_err(de::Error::custom)?);
                }
                "on_existing" => short.on_existing = Some(map.next_value()?),
                // Not a name: it means the policies wherever it stands.
                "conflict" => short.conflict = Some(map.next_value()?),
                "throttle" => short.throttle = Some(map.next_value()?),
                _ => match map.next_value::<Entry>()? {
                    Entry::Table(destination) => {
                        check_name(&key).map_err(de::Error::custom)?;
                        named.insert(key, destination);
                    }
                    Entry::Other => return Err(de::Error::unknown_field(&key, KEYS)),
                },
            }
        }
        match (short, named.keys().next()) {
            (Short { conninfo: Some(_), .. }, Some(name)) => Err(de::Error::custom(format!(
                "destination.conninfo and the key destination.{name} exclude one another: \
                 write either [destination] or only [destination.NAME] tables"
            ))),
            (
                Short { conninfo: Some(conninfo), disk_free, on_existing, conflict, throttle },
                None,
            ) => {
                let destination = Destination {
                    conninfo,
                    disk_free,
                    on_existing: on_existing.unwrap_or_default(),
                    conflict: conflict.unwrap_or_default(),
                    throttle: throttle.unwrap_or_default(),
                };
                Ok(BTreeMap::from([(DEFAULT_NAME.to_owned(), destination)]))
            }
            (short, Some(_)) => match short.first_key() {
                Some(key) => Err(de::Error::custom(format!(
                    "destination.{key} belongs into one of the [destination.NAME] tables"
                ))),
                None => Ok(named),
            },
            (_, None) => Err(de::Error::missing_field("conninfo")),
        }
    }
}

/// The keys of the short form, as far as they are there.
#[derive(Default)]
struct Short {
    conninfo: Option<String>,
    disk_free: Option<u64>,
    on_existing: Option<OnExisting>,
    conflict: Option<Conflict>,
    throttle: Option<Throttle>,
}

impl Short {
    fn first_key(&self) -> Option<&'static str> {
        let there = [
            self.disk_free.is_some(),
            self.on_existing.is_some(),
            self.conflict.is_some(),
            self.throttle.is_some(),
        ];
        KEYS.iter().skip(1).zip(there).find(|(_, there)| *there).map(|(key, _)| *key)
    }
}

/// The name becomes part of file names and of a lock's key.
fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !name.is_empty() && name.len() <= 40 && name.chars().all(plain) {
        return Ok(());
    }
    Err(format!("key \"{name}\" is not a destination name: [a-z0-9_]+, at most 40 characters"))
}

/// What may stand below `destination`.
enum Entry {
    Table(Destination),
    Other,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entry, D::Error> {
        struct EntryVisitor;
        impl<'de> Visitor<'de> for EntryVisitor {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a table")
            }

            fn visit_str<E>(self, _: &str) -> Result<Entry, E> {
                Ok(Entry::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
                Destination::deserialize(MapAccessDeserializer::new(map)).map(Entry::Table)
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, _: A) -> Result<Entry, A::Error> {
                Ok(Entry::Other)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Entry, E> {
                Ok(Entry::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Entry, E> {
                Ok(Entry::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Entry, E> {
                Ok(Entry::Other)
            }
        }
        deserializer.deserialize_any(EntryVisitor)
    }
}
