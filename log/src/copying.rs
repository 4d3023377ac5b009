//! How far the copy of the initial set is, counted by whoever moves its rows.
//!
//! Pure counting: nothing here is read back to decide what to copy. The invariant: a table counts as
//! whole only when it was said to be done; estimates never make it so, however wrong they were.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::{BaseTable, TableSize};

/// Shown of a table whose estimate was reached and that is not done.
const NEARLY: f64 = 0.99;

/// A table weighs at least this much: opening and finishing an empty one takes time, too.
const LEAST_WEIGHT: u64 = 8192;

/// See the module's description.
#[derive(Debug, Default)]
pub struct Copying {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tables: HashMap<u32, Table>,
    weight: u64,
    weight_done: u64,
    done: u64,
    rows: u64,
    bytes: u64,
    /// When the first row moved, and how far the set was then.
    began: Option<(Instant, f64)>,
}

#[derive(Debug)]
struct Table {
    schema: String,
    name: String,
    size: TableSize,
    rows: u64,
    bytes: u64,
    began: Option<Instant>,
    done: bool,
}

/// The copy at one moment.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct CopySnapshot {
    /// Tables of the set.
    pub tables_total: u64,
    /// Of them, those that are done.
    pub tables_done: u64,
    /// Rows moved by this process.
    pub rows: u64,
    /// Their bytes, as COPY has them.
    pub bytes: u64,
    /// How far all of it is, by estimated sizes: 0 to 1, and 1 only when every table is done.
    pub fraction: f64,
    /// How long the rest takes at the rate so far.
    pub time_left: Option<Duration>,
    /// The tables under way, by name.
    pub running: Vec<TableSnapshot>,
}

/// A table under way.
#[derive(Clone, PartialEq, Debug)]
pub struct TableSnapshot {
    /// Schema at the source.
    pub schema: String,
    /// Name at the source.
    pub name: String,
    /// Rows moved.
    pub rows: u64,
    /// Rows there are, about; 0 when unknown.
    pub rows_total: u64,
    /// Bytes moved.
    pub bytes: u64,
    /// Rows in a second, on the average since it was begun.
    pub rows_per_second: u64,
    /// How far it is, 0 to 1.
    pub fraction: f64,
    /// How long the rest takes at this rate.
    pub time_left: Option<Duration>,
}

impl Copying {
    /// The set, and whether each table of it is done.
    pub fn plan(&self, tables: &[BaseTable], is_done: impl Fn(u32) -> bool) {
        let mut state = self.state();
        let mut before = std::mem::take(&mut state.tables);
        (state.weight, state.weight_done, state.done) = (0, 0, 0);
        for table in tables {
            let done = is_done(table.relation);
            let known = before.remove(&table.relation).unwrap_or_else(|| Table::new(table));
            let table_now = Table { done, ..known };
            state.weight += table_now.weight();
            if done {
                state.weight_done += table_now.weight();
                state.done += 1;
            }
            state.tables.insert(table.relation, table_now);
        }
    }

    /// A table is begun, or begun anew.
    pub fn begin(&self, relation: u32) {
        let mut state = self.state();
        let now = Instant::now();
        if state.began.is_none() {
            state.began = Some((now, state.fraction()));
        }
        if let Some(table) = state.tables.get_mut(&relation) {
            (table.rows, table.bytes, table.began) = (0, 0, Some(now));
        }
    }

    /// Rows of a table were moved.
    pub fn add(&self, relation: u32, rows: u64, bytes: u64) {
        let mut state = self.state();
        state.rows += rows;
        state.bytes += bytes;
        if let Some(table) = state.tables.get_mut(&relation) {
            table.rows += rows;
            table.bytes += bytes;
        }
    }

    /// How many rows a table has is known now.
    pub fn counted(&self, relation: u32, rows: u64) {
        if let Some(table) = self.state().tables.get_mut(&relation) {
            table.size.rows = rows;
        }
    }

    /// A table is done.
    pub fn done(&self, relation: u32) {
        let mut state = self.state();
        let Some(table) = state.tables.get_mut(&relation).filter(|table| !table.done) else {
            return;
        };
        table.done = true;
        let weight = table.weight();
        state.weight_done += weight;
        state.done += 1;
    }

    /// How far it is.
    pub fn snapshot(&self) -> CopySnapshot {
        let state = self.state();
        let fraction = state.fraction();
        let mut running: Vec<TableSnapshot> =
            state.tables.values().filter_map(Table::snapshot).collect();
        running.sort_unstable_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        CopySnapshot {
            tables_total: state.tables.len() as u64,
            tables_done: state.done,
            rows: state.rows,
            bytes: state.bytes,
            fraction,
            time_left: state.began.and_then(|(began, from)| left(began, from, fraction)),
            running,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fraction(&self) -> f64 {
        if self.weight_done == self.weight {
            return 1.0;
        }
        let running = self.tables.values().filter(|table| table.is_running());
        let part: f64 = running.map(|table| share(table.weight(), 1) * table.fraction()).sum();
        (share(self.weight_done, self.weight) + part / share(self.weight, 1)).min(NEARLY)
    }
}

impl Table {
    fn new(table: &BaseTable) -> Table {
        Table {
            schema: table.schema.clone(),
            name: table.name.clone(),
            size: table.size,
            rows: 0,
            bytes: 0,
            began: None,
            done: false,
        }
    }

    fn weight(&self) -> u64 {
        self.size.bytes.max(LEAST_WEIGHT)
    }

    fn is_running(&self) -> bool {
        self.began.is_some() && !self.done
    }

    /// By rows where their number is known, else by bytes, which COPY and the disk count differently.
    fn fraction(&self) -> f64 {
        match self.size.rows {
            0 => share(self.bytes, self.weight()).min(NEARLY),
            rows => share(self.rows, rows).min(NEARLY),
        }
    }

    fn snapshot(&self) -> Option<TableSnapshot> {
        let began = self.began.filter(|_| !self.done)?;
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let fraction = self.fraction();
        Some(TableSnapshot {
            schema: self.schema.clone(),
            name: self.name.clone(),
            rows: self.rows,
            rows_total: self.size.rows,
            bytes: self.bytes,
            rows_per_second: self.rows.saturating_mul(1000) / millis,
            fraction,
            time_left: left(began, 0.0, fraction),
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// What is left when it goes on as since `began`.
fn left(began: Instant, from: f64, fraction: f64) -> Option<Duration> {
    let gained = fraction - from;
    let seconds = began.elapsed().as_secs_f64() * (1.0 - fraction) / gained;
    (gained > 0.0).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(relation: u32, bytes: u64, rows: u64) -> BaseTable {
        let (schema, name) = ("public".to_owned(), format!("t{relation}"));
        BaseTable { relation, schema, name, size: TableSize { bytes, rows } }
    }

    #[test]
    fn tables_weigh_by_their_size_and_only_done_ones_are_whole() {
        let copying = Copying::default();
        assert_eq!(copying.snapshot(), CopySnapshot { fraction: 1.0, ..CopySnapshot::default() });
        copying.plan(&[table(1, 3_000_000, 100), table(2, 1_000_000, 0)], |_| false);
        assert_eq!(copying.snapshot().fraction, 0.0);
        copying.begin(1);
        copying.add(1, 50, 700);
        let seen = copying.snapshot();
        assert_eq!((seen.fraction, seen.rows, seen.bytes), (0.375, 50, 700));
        assert_eq!((seen.running.len(), seen.running[0].fraction), (1, 0.5));
        assert!(seen.time_left.is_some());
        // The estimate was too low.
        copying.add(1, 500, 7000);
        assert_eq!(copying.snapshot().running[0].fraction, NEARLY);
        copying.done(1);
        copying.done(1);
        let seen = copying.snapshot();
        assert_eq!((seen.tables_done, seen.fraction, seen.running.len()), (1, 0.75, 0));
        copying.begin(2);
        copying.add(2, 10, 5_000_000);
        assert!(copying.snapshot().fraction < 1.0);
        copying.done(2);
        assert_eq!(copying.snapshot().fraction, 1.0);
    }

    #[test]
    fn a_table_begun_anew_starts_over_and_one_that_is_gone_leaves() {
        let copying = Copying::default();
        copying.plan(&[table(1, 0, 100), table(2, 0, 100)], |_| false);
        copying.begin(1);
        copying.add(1, 60, 6);
        copying.begin(1);
        assert_eq!(copying.snapshot().running[0].rows, 0);
        assert_eq!(copying.snapshot().rows, 60, "what was moved was moved");
        copying.plan(&[table(1, 0, 100)], |_| true);
        let seen = copying.snapshot();
        assert_eq!((seen.tables_done, seen.tables_total, seen.fraction), (1, 1, 1.0));
    }
}
