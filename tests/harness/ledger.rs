//! The ledger workload and what must hold of it.
//!
//! Writers move money between accounts in three tables, each transfer appending to a keyless table
//! and counting `n = n + 1`; some transactions are rolled back in part or whole, some are large
//! enough to be streamed. What the destination must end with is kept here, in the workload's own
//! process and never in the product's: balances, counters, and how often each audited row operation
//! happened. The audit trigger at the destination is ENABLE ALWAYS, so it sees the applier's own
//! writes and makes a row applied twice visible.
//!
//! A transaction whose outcome is unknown because the server died is looked up by its id in the
//! ledger table, so the expectation stays exact across crashes of the source.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::JoinHandle;

use crate::database::{Database, Sql};
use crate::oracle;
use crate::seed;
use crate::wait::wait_until;

const ACCOUNT_TABLES: [&str; 3] = ["account_a", "account_b", "account_c"];
const AUDITED: [&str; 3] = ["account_c", "counter", "ledger"];
const OPENING_BALANCE: i64 = 1000;
/// How long a writer keeps trying while the source is down.
const RECONNECT_WITHIN: Duration = Duration::from_secs(60);

const TABLES: &str = "
    create table public.account_a (id int primary key, balance bigint not null);
    create table public.account_b (id int primary key, note text, balance bigint not null);
    create table public.account_c (id int primary key, balance bigint not null);
    create table public.counter (id int primary key, n bigint not null);
    create table public.ledger (txn_id bigint not null, from_table int, from_id int,
        to_table int, to_id int, amount bigint, counter_id int);
    create table public.bulk (txn_id bigint, n int, size int not null, note text,
        primary key (txn_id, n));
";

const AUDIT: &str = "
    create table public.audit (relation name not null, operation text not null);
    create function public.audit_row() returns trigger language plpgsql security definer as $$
    begin
        insert into public.audit (relation, operation) values (tg_table_name, tg_op);
        return null;
    end $$;
";

/// How hard the ledger works.
#[derive(Clone, Copy, Debug)]
pub struct LedgerOptions {
    /// Accounts in each of the three tables.
    pub accounts: u32,
    /// Concurrent sessions.
    pub writers: u32,
    /// Transactions a second of each session; 0 for as fast as it goes.
    pub rate: u32,
    /// Rows of a large transaction.
    pub bulk_rows: u32,
    /// How many transactions of a hundred are large.
    pub bulk_percent: u32,
    /// Whether the audit triggers stand at the destination. They take folding and COPY away from
    /// the applier on the tables that have them.
    pub audited: bool,
    /// Seed of everything chosen by chance.
    pub seed: u64,
}

impl Default for LedgerOptions {
    fn default() -> LedgerOptions {
        LedgerOptions {
            accounts: 100,
            writers: 3,
            rate: 60,
            bulk_rows: 1500,
            bulk_percent: 4,
            audited: true,
            seed: 1,
        }
    }
}

/// What the committed transactions amount to.
#[derive(Default, Debug)]
struct Expected {
    balances: BTreeMap<(usize, u32), i64>,
    counters: BTreeMap<u32, i64>,
    /// Row operations by table and kind, of the audited tables.
    operations: BTreeMap<(&'static str, &'static str), i64>,
    committed: BTreeSet<u64>,
}

/// The workload between two databases.
pub struct Ledger {
    source: Database,
    destination: Database,
    options: LedgerOptions,
    expected: Arc<Mutex<Expected>>,
    /// Starts of the load so far: keeps transaction ids apart.
    runs: AtomicU64,
}

impl Ledger {
    /// Creates the tables on both sides, and the opening rows at the source.
    pub async fn create(
        source: &Database,
        destination: &Database,
        options: LedgerOptions,
    ) -> Ledger {
        let accounts = options.accounts;
        source.exec(TABLES).await;
        destination.exec(TABLES).await;
        if options.audited {
            let admin = destination.connect().await;
            admin.exec(AUDIT).await;
            for table in AUDITED {
                let trigger = format!(
                    "create trigger audited after insert or update or delete on public.{table}
                         for each row execute function public.audit_row();
                     alter table public.{table} enable always trigger audited"
                );
                admin.exec(&trigger).await;
            }
        }
        let admin = source.connect().await;
        let mut expected = Expected::default();
        for (index, table) in ACCOUNT_TABLES.into_iter().enumerate() {
            let opening = format!(
                "insert into public.{table} (id, balance)
                 select n, {OPENING_BALANCE} from generate_series(1, {accounts}) n"
            );
            admin.exec(&opening).await;
            for id in 1..=accounts {
                expected.balances.insert((index, id), OPENING_BALANCE);
            }
        }
        admin.exec("insert into public.counter select n, 0 from generate_series(1, 10) n").await;
        expected.counters = (1..=10).map(|id| (id, 0)).collect();
        expected.operations.insert(("account_c", "INSERT"), accounts.into());
        expected.operations.insert(("counter", "INSERT"), 10);
        Ledger {
            source: source.clone(),
            destination: destination.clone(),
            options,
            expected: Arc::new(Mutex::new(expected)),
            runs: AtomicU64::new(0),
        }
    }

    /// Starts the writers.
    pub fn start(&self) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let run = self.runs.fetch_add(1, Ordering::SeqCst);
        let writer = |number: u32| {
            let writer = Writer {
                source: self.source.clone(),
                options: self.options,
                rng: seed::rng(self.options.seed, run * 100 + u64::from(number) + 1),
                next_id: (run << 48) + (u64::from(number) << 32) + 1,
                bulks: Vec::new(),
                expected: Arc::clone(&self.expected),
                stop: Arc::clone(&stop),
            };
            tokio::spawn(writer.run())
        };
        let writers = (0..self.options.writers).map(writer).collect();
        Load { stop, writers, expected: Arc::clone(&self.expected) }
    }

    /// Starts looking at the destination for states that are not made of whole transactions. Only
    /// once the initial copy is there.
    pub fn poll(&self) -> Poller {
        let stop = Arc::new(AtomicBool::new(false));
        let looks = Arc::new(AtomicU64::new(0));
        let total = i64::from(self.options.accounts) * 3 * OPENING_BALANCE;
        let task = tokio::spawn(poll(
            self.destination.clone(),
            total,
            Arc::clone(&stop),
            Arc::clone(&looks),
        ));
        Poller { stop, looks, task }
    }

    /// Waits until the destination has everything that was committed, then asserts all of it.
    ///
    /// # Panics
    /// When the two sides stay different, or a row operation was applied more than once.
    pub async fn verify(&self, within: Duration) {
        oracle::wait_equal(&self.source, &self.destination, within).await;
        self.verify_source().await;
        if self.options.audited {
            self.verify_audit(|_| true).await;
        }
    }

    /// [`Ledger::verify`] when the load began before the initial copy: the copy then holds part of
    /// the updates already, so only inserts can be counted.
    ///
    /// # Panics
    /// As [`Ledger::verify`].
    pub async fn verify_with_copy(&self, within: Duration) {
        oracle::wait_equal(&self.source, &self.destination, within).await;
        self.verify_source().await;
        self.verify_audit(|operation| operation == "INSERT").await;
    }

    /// The workload's own account against the source: a mistake here would make the rest worthless.
    async fn verify_source(&self) {
        let client = self.source.connect().await;
        let mut balances = BTreeMap::new();
        for (index, table) in ACCOUNT_TABLES.into_iter().enumerate() {
            for row in client.rows(&format!("select id, balance from public.{table}")).await {
                balances.insert((index, number(&row[0])), number(&row[1]));
            }
        }
        let counters = client.rows("select id, n from public.counter").await;
        let counters: BTreeMap<u32, i64> =
            counters.iter().map(|row| (number(&row[0]), number(&row[1]))).collect();
        let expected = self.expected.lock().expect("not poisoned");
        assert_eq!(balances, expected.balances, "balances at the source");
        assert_eq!(counters, expected.counters, "counters at the source");
    }

    async fn verify_audit(&self, counted: impl Fn(&str) -> bool) {
        let client = self.destination.connect().await;
        let rows = client
            .rows("select relation, operation, count(*) from public.audit group by 1, 2")
            .await;
        let seen: BTreeMap<(String, String), i64> = rows
            .into_iter()
            .map(|row| {
                let text = |n: usize| row[n].clone().expect("not NULL");
                ((text(0), text(1)), number(&row[2]))
            })
            .filter(|((_, operation), _)| counted(operation))
            .collect();
        let expected = self.expected.lock().expect("not poisoned");
        let wanted: BTreeMap<(String, String), i64> = expected
            .operations
            .iter()
            .filter(|((_, operation), count)| **count > 0 && counted(operation))
            .map(|((table, kind), count)| (((*table).to_owned(), (*kind).to_owned()), *count))
            .collect();
        assert_eq!(seen, wanted, "row operations seen by the audit trigger at the destination");
    }
}

fn number<T: std::str::FromStr>(text: &Option<String>) -> T {
    text.as_deref().and_then(|text| text.parse().ok()).expect("a number")
}

/// Running writers.
pub struct Load {
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<()>>,
    expected: Arc<Mutex<Expected>>,
}

impl Load {
    /// Transactions committed so far, by all loads of this ledger.
    ///
    /// # Panics
    /// When a writer did.
    pub fn committed(&self) -> usize {
        self.expected.lock().expect("not poisoned").committed.len()
    }

    /// Waits until `more` further transactions have committed.
    ///
    /// # Panics
    /// When they have not in time.
    pub async fn progress(&self, more: usize, within: Duration) {
        let goal = self.committed() + more;
        wait_until("the load to progress", within, async || self.committed() >= goal).await;
    }

    /// Stops the writers and waits until each has ended its transaction.
    ///
    /// # Panics
    /// When a writer did.
    pub async fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for writer in self.writers {
            writer.await.expect("a writer");
        }
    }
}

/// The kind of a large transaction, beside those of 0 to 99.
const LARGE: u32 = 100;

struct Writer {
    source: Database,
    options: LedgerOptions,
    rng: StdRng,
    next_id: u64,
    /// Large transactions whose rows are still there.
    bulks: Vec<u64>,
    expected: Arc<Mutex<Expected>>,
    stop: Arc<AtomicBool>,
}

/// One transfer, as it will count if its transaction commits.
#[derive(Clone, Copy, Debug)]
struct Transfer {
    from: (usize, u32),
    to: (usize, u32),
    amount: i64,
    counter: u32,
}

impl Writer {
    async fn run(mut self) {
        let mut client: Option<Sql> = None;
        let pause = match self.options.rate {
            0 => Duration::ZERO,
            rate => Duration::from_secs(1) / rate,
        };
        while !self.stop.load(Ordering::SeqCst) {
            let started = Instant::now();
            let id = self.next_id;
            self.next_id += 1;
            let (sql, transfers, bulk) = self.transaction(id);
            let session = match client.take() {
                Some(session) => session,
                None => self.reconnect().await,
            };
            let committed = match session.batch_execute(&sql).await {
                Ok(()) => {
                    client = Some(session);
                    !transfers.is_empty()
                }
                // The server went away: did it commit?
                Err(error) => {
                    if error.code().is_some_and(|code| code.code().starts_with("42")) {
                        panic!("{sql}\nfailed: {error:?}");
                    }
                    drop(session);
                    let session = self.reconnect().await;
                    let found = session
                        .number(&format!("select count(*) from public.ledger where txn_id = {id}"))
                        .await;
                    client = Some(session);
                    found > 0
                }
            };
            if committed {
                self.count(id, &transfers, bulk);
            }
            tokio::time::sleep(pause.saturating_sub(started.elapsed())).await;
        }
    }

    async fn reconnect(&self) -> Sql {
        let deadline = Instant::now() + RECONNECT_WITHIN;
        loop {
            match self.source.try_connect().await {
                Ok(session) => return session,
                Err(error) => assert!(Instant::now() < deadline, "the source is gone: {error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The statements of the next transaction, and the transfers that count when it commits (none
    /// when it rolls back).
    fn transaction(&mut self, id: u64) -> (String, Vec<Transfer>, bool) {
        let large = self.rng.random_range(0..100) < self.options.bulk_percent;
        let kind = if large { LARGE } else { self.rng.random_range(0..100) };
        let count = match kind {
            0..70 => 1,
            _ => self.rng.random_range(2..20),
        };
        let transfers: Vec<Transfer> = (0..count).map(|_| self.transfer()).collect();
        let mut sql = String::from("begin;\n");
        let bulk = kind == LARGE;
        if bulk {
            self.bulk(id, &mut sql);
        }
        if (80..86).contains(&kind) {
            // What a rolled back savepoint did must not arrive, streamed or not.
            let other: Vec<Transfer> = (0..3).map(|_| self.transfer()).collect();
            sql.push_str("savepoint s;\n");
            write_transfers(id, &other, &mut sql);
            sql.push_str("rollback to savepoint s;\n");
        }
        write_transfers(id, &transfers, &mut sql);
        if (86..90).contains(&kind) {
            sql.push_str("rollback");
            return (sql, Vec::new(), false);
        }
        sql.push_str("commit");
        (sql, transfers, bulk)
    }

    /// A large transaction: rows, part of them in a savepoint that is rolled back, changes to them,
    /// and the end of an older one's rows.
    fn bulk(&mut self, id: u64, sql: &mut String) {
        let rows = self.options.bulk_rows;
        let mut insert = |from: u32, to: u32| {
            writeln!(
                sql,
                "insert into public.bulk select {id}, n, {rows}, repeat(md5(n::text), 3)
                   from generate_series({from}, {to}) n;"
            )
            .expect("text");
        };
        insert(1, rows / 2);
        insert(rows / 2 + 1, rows);
        writeln!(
            sql,
            "update public.bulk set note = note || 'x' where txn_id = {id} and n % 7 = 0;
             savepoint b; delete from public.bulk where txn_id = {id} and n % 3 = 0;
             rollback to savepoint b;"
        )
        .expect("text");
        if self.bulks.len() > 2 {
            let oldest = self.bulks.remove(0);
            writeln!(sql, "delete from public.bulk where txn_id = {oldest};").expect("text");
        }
    }

    fn transfer(&mut self) -> Transfer {
        let accounts = self.options.accounts;
        let mut account = || (self.rng.random_range(0..3), self.rng.random_range(1..=accounts));
        let from = account();
        let to = loop {
            let to = account();
            if to != from {
                break to;
            }
        };
        Transfer {
            from,
            to,
            amount: self.rng.random_range(1..100),
            counter: self.rng.random_range(1..=10),
        }
    }

    fn count(&mut self, id: u64, transfers: &[Transfer], bulk: bool) {
        if bulk {
            self.bulks.push(id);
        }
        let mut expected = self.expected.lock().expect("not poisoned");
        expected.committed.insert(id);
        for transfer in transfers {
            for (account, amount) in
                [(transfer.from, -transfer.amount), (transfer.to, transfer.amount)]
            {
                *expected.balances.get_mut(&account).expect("an account") += amount;
                if ACCOUNT_TABLES[account.0] == "account_c" {
                    *expected.operations.entry(("account_c", "UPDATE")).or_default() += 1;
                }
            }
            *expected.counters.get_mut(&transfer.counter).expect("a counter") += 1;
            *expected.operations.entry(("counter", "UPDATE")).or_default() += 1;
            *expected.operations.entry(("ledger", "INSERT")).or_default() += 1;
        }
    }
}

/// Rows are locked in one order by everybody, so that there are no deadlocks: accounts by table
/// and id, then counters.
fn write_transfers(id: u64, transfers: &[Transfer], sql: &mut String) {
    let mut moves: Vec<((usize, u32), i64)> = transfers
        .iter()
        .flat_map(|transfer| [(transfer.from, -transfer.amount), (transfer.to, transfer.amount)])
        .collect();
    moves.sort_unstable();
    for ((table, account), amount) in moves {
        let table = ACCOUNT_TABLES[table];
        writeln!(
            sql,
            "update public.{table} set balance = balance + {amount} where id = {account};"
        )
        .expect("text");
    }
    let mut counters: Vec<u32> = transfers.iter().map(|transfer| transfer.counter).collect();
    counters.sort_unstable();
    for counter in counters {
        writeln!(sql, "update public.counter set n = n + 1 where id = {counter};").expect("text");
    }
    for transfer in transfers {
        let Transfer { from, to, amount, counter } = transfer;
        writeln!(
            sql,
            "insert into public.ledger values
                ({id}, {}, {}, {}, {}, {amount}, {counter});",
            from.0, from.1, to.0, to.1
        )
        .expect("text");
    }
}

/// Looks at the destination while it is being written.
pub struct Poller {
    stop: Arc<AtomicBool>,
    looks: Arc<AtomicU64>,
    task: JoinHandle<Result<(), String>>,
}

impl Poller {
    /// Ends the poller; returns how often it looked.
    ///
    /// # Panics
    /// When it saw part of a transaction, or never looked.
    pub async fn finish(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        let outcome = self.task.await.expect("the poller");
        assert_eq!(outcome, Ok(()), "the destination showed part of a transaction");
        let looks = self.looks.load(Ordering::SeqCst);
        assert!(looks > 0, "the poller never looked");
        looks
    }
}

/// What must hold of every state made of whole transactions: each line counts its violations.
const INVARIANTS: &str = "
    with account (tab, id, balance) as (
        select 0, id, balance from public.account_a union all
        select 1, id, balance from public.account_b union all
        select 2, id, balance from public.account_c
    ), move (tab, id, amount) as (
        select from_table, from_id, -amount from public.ledger union all
        select to_table, to_id, amount from public.ledger
    ), moved as (
        select tab, id, sum(amount) as amount from move group by tab, id
    ), counted as (
        select counter_id, count(*) as n from public.ledger group by counter_id
    )
    select 'total', (select sum(balance) from account) - $TOTAL union all
    select 'accounts', (select count(*) from account full join moved using (tab, id)
                         where balance is distinct from 1000 + coalesce(amount, 0)) union all
    select 'counters', (select count(*) from public.counter c full join counted on id = counter_id
                         where c.n is distinct from coalesce(counted.n, 0)) union all
    select 'bulk', (select count(*) from (select txn_id from public.bulk group by txn_id
                     having count(*) <> max(size) or count(*) filter (where note like '%x')
                        <> count(*) filter (where n % 7 = 0)) b) union all
    select 'bulk without its transfers', (select count(*) from public.bulk b
         where n = 1 and not exists (select from public.ledger l where l.txn_id = b.txn_id))
";

async fn poll(
    destination: Database,
    total: i64,
    stop: Arc<AtomicBool>,
    looks: Arc<AtomicU64>,
) -> Result<(), String> {
    let invariants = INVARIANTS.replace("$TOTAL", &total.to_string());
    let mut client: Option<Sql> = None;
    while !stop.load(Ordering::SeqCst) {
        let started = Instant::now();
        // The destination may be down just now; that is no violation.
        let session = match client.take() {
            Some(session) => Some(session),
            None => destination.try_connect().await.ok(),
        };
        if let Some(session) = session {
            // One statement has one snapshot.
            if let Ok(rows) = session.try_rows(&invariants).await {
                looks.fetch_add(1, Ordering::SeqCst);
                let broken: Vec<String> = rows
                    .iter()
                    .filter(|row| row[1].as_deref() != Some("0"))
                    .map(|row| {
                        format!("{}: {}", row[0].as_deref().unwrap_or(""), number::<i64>(&row[1]))
                    })
                    .collect();
                if !broken.is_empty() {
                    return Err(broken.join(", "));
                }
                client = Some(session);
            }
        }
        tokio::time::sleep((started.elapsed() * 2).max(Duration::from_millis(100))).await;
    }
    Ok(())
}
