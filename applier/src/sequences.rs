//! The destination's sequences, kept at least where the source's stand.
//!
//! Owns the comparison and the setting. A sequence is outside transactions, so its values need no place
//! among the changes; what they need is to be no older than the changes at a switch-over. The
//! invariant: no sequence is ever set back. What cannot be set is told in the status, and stops
//! nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgtrail_log::{LogFollower, Lsn, SequenceValue, SequenceValues, Timestamp};
use pgtrail_postgres::Session;
use pgtrail_postgres::mapping::Mapping;
use pgtrail_postgres::quote::qualified;
use pgtrail_postgres::sequence::{Sequence, SequencePosition, load_sequences, sequence_positions};
use tokio_postgres::types::Type;

use crate::Error;
use crate::status::{ApplierStatus, SequenceState};

/// How often the log is looked at for new values.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long values that could not be set wait for the next try, and how often sequences that are not
/// there are looked for.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// How often the log is looked at while the last values are waited for.
const WAIT_EVERY: Duration = Duration::from_millis(100);

/// How long they are waited for: a reader that is there asks every few seconds, unless it is refused.
const WAIT_AT_MOST: Duration = Duration::from_secs(60);

type Name = (String, String);

/// See the module's documentation.
pub(crate) struct Sequences {
    follower: Arc<LogFollower>,
    mapping: Mapping,
    status: Arc<ApplierStatus>,
    /// Number of the last set of values that was gone through.
    done: u64,
    next_look: Instant,
    /// The destination's, by name, and when they were asked for.
    known: HashMap<Name, Sequence>,
    asked: Option<Instant>,
    /// What the source said of each when it was last compared.
    compared: HashMap<Name, SequencePosition>,
}

impl Sequences {
    pub(crate) fn new(
        follower: Arc<LogFollower>,
        mapping: Mapping,
        status: Arc<ApplierStatus>,
    ) -> Sequences {
        Sequences {
            follower,
            mapping,
            status,
            done: 0,
            next_look: Instant::now(),
            known: HashMap::new(),
            asked: None,
            compared: HashMap::new(),
        }
    }

    /// Until the next look is due.
    pub(crate) fn due_in(&self) -> Duration {
        self.next_look.saturating_duration_since(Instant::now())
    }

    /// Sets what has moved on, if a look is due. A refusal of the server's is told and tried again
    /// later.
    pub(crate) async fn keep_up(&mut self, session: &Session) -> Result<(), Error> {
        if !self.due_in().is_zero() {
            return Ok(());
        }
        self.next_look = Instant::now() + LOOK_EVERY;
        match self.set_newest(session).await {
            Err(Error::Postgres(error)) if error.server().is_some() => {
                tracing::warn!(%error, "sequences cannot be set, will be tried again");
                self.next_look = Instant::now() + TRY_AGAIN_AFTER;
                self.asked = None;
                Ok(())
            }
            set => set,
        }
    }

    /// Waits until the log has the values as of `until`, if a reader is there that will write them.
    pub(crate) async fn wait(&self, until: Lsn) -> Result<(), Error> {
        let began = Instant::now();
        loop {
            let follower = Arc::clone(&self.follower);
            let looked = tokio::task::spawn_blocking(move || {
                // In this order: a reader that ends in between has written before.
                let is_written = follower.is_being_written();
                Ok::<_, pgtrail_log::Error>((is_written, follower.mark()?.sequences))
            });
            let (is_written, mark) =
                looked.await.map_err(|error| Error::Bug(error.to_string()))??;
            if mark.as_of >= until {
                return Ok(());
            }
            if !is_written || began.elapsed() >= WAIT_AT_MOST {
                tracing::warn!(as_of = %mark.as_of, %until, "the log has older values of sequences only");
                return Ok(());
            }
            tokio::time::sleep(WAIT_EVERY).await;
        }
    }

    /// Sets the last values. A refusal of the server's is an error here.
    pub(crate) async fn finish(&mut self, session: &Session) -> Result<(), Error> {
        self.asked = None;
        self.set_newest(session).await
    }

    async fn set_newest(&mut self, session: &Session) -> Result<(), Error> {
        let (follower, done) = (Arc::clone(&self.follower), self.done);
        let read = tokio::task::spawn_blocking(move || match follower.mark()?.sequences.number {
            number if number == done => Ok(None),
            _ => follower.sequences(),
        });
        let read = read.await.map_err(|error| Error::Bug(error.to_string()))??;
        let Some((number, values)) = read else { return Ok(()) };
        if self.set(session, &values).await? {
            self.done = number;
        } else {
            // What could not be set may be there, or allowed, by then.
            self.next_look = Instant::now() + TRY_AGAIN_AFTER;
        }
        Ok(())
    }

    /// `false`: some were left.
    async fn set(&mut self, session: &Session, values: &SequenceValues) -> Result<bool, Error> {
        let moved: Vec<(Name, SequencePosition)> = values
            .values
            .iter()
            .map(|value| (self.name_of(value), position(value)))
            .filter(|(name, position)| self.compared.get(name) != Some(position))
            .collect();
        let is_usable = |found: &Sequence| found.is_settable && found.is_readable;
        let missing = moved.iter().any(|(name, _)| !self.known.get(name).is_some_and(is_usable));
        if missing && self.asked.is_none_or(|asked| asked.elapsed() >= TRY_AGAIN_AFTER) {
            self.known = load_sequences(session)
                .await?
                .into_iter()
                .map(|sequence| ((sequence.schema.clone(), sequence.name.clone()), sequence))
                .collect();
            self.asked = Some(Instant::now());
        }
        let mut settable = Vec::new();
        for (name, wanted) in &moved {
            match self.known.get(name) {
                None => self.leave(name, "it is not at the destination"),
                Some(found) if !is_usable(found) => {
                    self.leave(name, "the applier's role may not select from and update it");
                }
                Some(found) if !(found.bounds.0..=found.bounds.1).contains(&wanted.last_value) => {
                    self.leave(name, "its bounds at the destination exclude the source's value");
                }
                Some(found) => settable.push((name, *wanted, found)),
            }
        }
        let all = settable.len() == moved.len();
        let sequences: Vec<&Sequence> = settable.iter().map(|(_, _, found)| *found).collect();
        let present = sequence_positions(session, &sequences).await?;
        let behind: Vec<(&Name, SequencePosition)> = settable
            .iter()
            .zip(present)
            .filter(|((_, wanted, found), present)| wanted.is_beyond(present, found.increment))
            .map(|((name, wanted, _), _)| (*name, *wanted))
            .collect();
        set_values(session, &behind).await?;
        let at = Timestamp::now();
        for (name, wanted) in behind {
            self.status.set_sequence(
                &shown(name),
                SequenceState::Set { last_value: wanted.last_value, at },
            );
        }
        for (name, wanted, _) in settable {
            self.status.sequence_is_level(&shown(name));
            self.compared.insert(name.clone(), wanted);
        }
        Ok(all)
    }

    fn leave(&self, name: &Name, reason: &'static str) {
        if self.status.set_sequence(&shown(name), SequenceState::Left { reason }) {
            tracing::info!(sequence = shown(name), reason, "sequence is not set");
        }
    }

    fn name_of(&self, value: &SequenceValue) -> Name {
        self.mapping.relation(&value.schema, &value.name)
    }
}

fn position(value: &SequenceValue) -> SequencePosition {
    SequencePosition { last_value: value.last_value, is_called: value.is_called }
}

fn shown((schema, name): &Name) -> String {
    format!("{schema}.{name}")
}

async fn set_values(session: &Session, values: &[(&Name, SequencePosition)]) -> Result<(), Error> {
    fail::fail_point!("applier::sequences::before_set");
    let names: Vec<String> =
        values.iter().map(|((schema, name), _)| qualified(schema, name)).collect();
    let last_values: Vec<i64> = values.iter().map(|(_, wanted)| wanted.last_value).collect();
    let called: Vec<bool> = values.iter().map(|(_, wanted)| wanted.is_called).collect();
    let sql = "select pg_catalog.setval(s.name::pg_catalog.regclass, s.last_value, s.is_called) \
         from unnest($1, $2, $3) s (name, last_value, is_called)";
    session
        .query_typed(
            sql,
            &[
                (&names, Type::TEXT_ARRAY),
                (&last_values, Type::INT8_ARRAY),
                (&called, Type::BOOL_ARRAY),
            ],
        )
        .await?;
    Ok(())
}
