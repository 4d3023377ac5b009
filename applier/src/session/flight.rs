//! Statements on their way: sent, not yet answered.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures_util::SinkExt;
use pgtrail_log::{Datum, Position};
use pgtrail_postgres::Session;
use tokio_postgres::Statement;

use super::judge::{Failure, judge_error, judge_row, judge_row_error};
use crate::Error;
use crate::conflict::Intent;
use crate::statement::RowStatement;
use crate::statement::encode::Value;
use crate::target::Target;

/// COPY data is handed to the driver in pieces of this size, so that it is not copied as a whole.
const COPY_PIECE: usize = 1 << 20;

/// What an answer must look like.
#[derive(Debug)]
pub(super) enum Check {
    /// So many rows.
    Set { target: Arc<Target>, rows: u64 },
    /// One row. `judge`: anything else is a conflict, rather than a reason to look closer.
    Row { target: Arc<Target>, position: Position, intent: Intent, judge: bool },
    /// One row: the checkpoint is still ours.
    Fence,
    /// Nothing but success.
    Control,
}

/// What a statement is sent with.
#[derive(Debug)]
pub(super) enum Parameters {
    /// A set's arrays.
    Set(Vec<Bytes>),
    /// A row's values.
    Row(RowStatement),
}

impl Parameters {
    fn values(&self) -> Vec<Value<'_>> {
        match self {
            Parameters::Set(arrays) => {
                arrays.iter().map(|bytes| Value(Datum::Binary(bytes))).collect()
            }
            Parameters::Row(row) => row.values().into_iter().map(Value).collect(),
        }
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<u64, tokio_postgres::Error>> + Send>>;

/// Statements in the order they were sent.
#[derive(Default)]
pub(super) struct Flights(VecDeque<(Answer, Check)>);

impl Flights {
    /// Sends a statement without waiting for its answer.
    pub(super) async fn send(
        &mut self,
        session: &Arc<Session>,
        statement: &Statement,
        parameters: Parameters,
        check: Check,
    ) -> Result<(), Failure> {
        let (session, statement) = (Arc::clone(session), statement.clone());
        let answer: Answer =
            Box::pin(async move { session.execute_raw(&statement, parameters.values()).await });
        self.push(answer, check).await
    }

    /// Sends a statement that controls the transaction.
    pub(super) async fn control(
        &mut self,
        session: &Arc<Session>,
        sql: &'static str,
    ) -> Result<(), Failure> {
        let session = Arc::clone(session);
        let answer = Box::pin(async move { session.batch_execute(sql).await.map(|()| 0) });
        self.push(answer, Check::Control).await
    }

    async fn push(&mut self, mut answer: Answer, check: Check) -> Result<(), Failure> {
        // The driver sends when first polled.
        match poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await {
            Poll::Pending => self.0.push_back((answer, check)),
            Poll::Ready(done) => {
                // Not sent at all, or the connection is gone: what was sent before comes first.
                self.land(0).await?;
                judge(&check, done)?;
            }
        }
        Ok(())
    }

    /// Waits until no more than `left` are on their way; fails with the first that failed.
    pub(super) async fn land(&mut self, left: usize) -> Result<(), Failure> {
        while self.0.len() > left {
            let Some((answer, check)) = self.0.pop_front() else { break };
            if let Err(failure) = judge(&check, answer.await) {
                // The others failed with it; their answers must not be left lying in the connection's
                // order of things, so they are waited for.
                for (answer, _) in self.0.drain(..) {
                    let _ = answer.await;
                }
                return Err(failure);
            }
        }
        Ok(())
    }
}

/// Commits. A failure here leaves open whether the commit happened: only the checkpoint tells.
pub(super) async fn commit(session: &Session) -> Result<(), Error> {
    let mut answer = Box::pin(session.batch_execute("commit"));
    let sent = poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await;
    fail::fail_point!("applier::session::after_commit");
    match sent {
        Poll::Ready(done) => Ok(done?),
        Poll::Pending => Ok(answer.await?),
    }
}

/// Runs a COPY with this data.
pub(super) async fn copy(
    session: &Session,
    statement: &Statement,
    mut data: Bytes,
) -> Result<u64, tokio_postgres::Error> {
    let sink = session.copy_in(statement).await?;
    let mut sink = std::pin::pin!(sink);
    while !data.is_empty() {
        let piece = data.split_to(COPY_PIECE.min(data.len()));
        if sink.send(piece).await.is_err() {
            // The server ended the COPY; finishing it brings the reason.
            break;
        }
    }
    sink.finish().await
}

fn judge(check: &Check, answer: Result<u64, tokio_postgres::Error>) -> Result<(), Failure> {
    match (check, answer) {
        (Check::Control, Ok(_)) | (Check::Fence, Ok(1)) => Ok(()),
        (Check::Fence, Ok(_)) => Err(Failure::Fatal(Error::Fenced)),
        (Check::Control | Check::Fence, Err(error)) => Err(Failure::Fatal(error.into())),
        (Check::Set { rows, .. }, Ok(touched)) if touched == *rows => Ok(()),
        (Check::Set { target, .. }, Ok(_)) => Err(Failure::Replay(Some(Arc::clone(target)))),
        (Check::Set { target, .. }, Err(error)) => Err(judge_error(target, error)),
        (Check::Row { .. }, Ok(1)) => Ok(()),
        (Check::Row { target, judge: false, .. }, Ok(_)) => {
            Err(Failure::Replay(Some(Arc::clone(target))))
        }
        (Check::Row { target, judge: false, .. }, Err(error)) => Err(judge_error(target, error)),
        (Check::Row { target, position, intent, .. }, Ok(touched)) => {
            if touched == 0 && target.may_suppress() {
                // Perhaps a trigger or rule left the row out. Only one by one can it be told.
                target.note_suppression();
                return Err(Failure::Replay(None));
            }
            judge_row(target, *position, *intent, touched)
        }
        (Check::Row { target, position, intent, .. }, Err(error)) => {
            Err(judge_row_error(target, *position, *intent, error))
        }
    }
}
