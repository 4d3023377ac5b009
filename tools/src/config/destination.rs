//! `[destination]`, or several `[destination.NAME]`.

use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU64, NonZeroUsize};

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

/// The keys of the short form.
const KEYS: &[&str] = &["conninfo", "disk_free", "throttle"];

/// The table of the short form; no destination can have this name.
const THROTTLE: &str = "throttle";

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
        let mut short = None;
        let mut disk_free = None;
        let mut throttle = None;
        let mut named = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            if key == THROTTLE {
                throttle = Some(map.next_value::<Throttle>()?);
                continue;
            }
            match map.next_value::<Entry>()? {
                Entry::Table(destination) => {
                    check_name(&key).map_err(de::Error::custom)?;
                    named.insert(key, destination);
                }
                Entry::Text(conninfo) if key == "conninfo" => short = Some(conninfo),
                Entry::Text(size) if key == "disk_free" => {
                    disk_free = Some(units::parse_size(&size).map_err(de::Error::custom)?);
                }
                Entry::Text(_) | Entry::Other => {
                    return Err(de::Error::unknown_field(&key, KEYS));
                }
            }
        }
        match (short, named.keys().next()) {
            (Some(_), Some(name)) => Err(de::Error::custom(format!(
                "destination.conninfo and the key destination.{name} exclude one another: \
                 write either [destination] or only [destination.NAME] tables"
            ))),
            (Some(conninfo), None) => {
                let throttle = throttle.unwrap_or_default();
                let destination = Destination { conninfo, disk_free, throttle };
                Ok(BTreeMap::from([(DEFAULT_NAME.to_owned(), destination)]))
            }
            (None, Some(_)) if disk_free.is_some() => Err(de::Error::custom(
                "destination.disk_free belongs into one of the [destination.NAME] tables",
            )),
            (None, Some(_)) if throttle.is_some() => Err(de::Error::custom(
                "[destination.throttle] belongs to one of the [destination.NAME] tables: write \
                 [destination.NAME.throttle]",
            )),
            (None, Some(_)) => Ok(named),
            (None, None) => Err(de::Error::missing_field("conninfo")),
        }
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
    Text(String),
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

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Entry, E> {
                Ok(Entry::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
                Destination::deserialize(MapAccessDeserializer::new(map)).map(Entry::Table)
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
