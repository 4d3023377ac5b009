//! The kills.

use std::time::{Duration, Instant};

use pgtrail_tests::ledger::Load;
use pgtrail_tests::seed::{number, rng};
use pgtrail_tests::{
    Ledger, LedgerOptions, Link, Pair, Proxy, Stop, budget_secs, seed, wait_until,
};
use rand::Rng;
use rand::rngs::StdRng;

const WITHIN: Duration = Duration::from_secs(180);

/// Rounds that a full run has.
const ROUNDS: u64 = 50;

/// After so many rounds the load pauses and everything is compared.
const VERIFY_EVERY: u64 = 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Victim {
    Reader,
    Applier,
    Source,
    Destination,
    Everything,
    SourceLink,
    DestinationLink,
    CommitReply,
}

impl Victim {
    fn choose(random: &mut StdRng) -> Victim {
        match random.random_range(0..100) {
            0..22 => Victim::Reader,
            22..44 => Victim::Applier,
            44..60 => Victim::Source,
            60..76 => Victim::Destination,
            76..80 => Victim::Everything,
            80..86 => Victim::SourceLink,
            86..92 => Victim::DestinationLink,
            _ => Victim::CommitReply,
        }
    }
}

struct Scene {
    pair: Pair,
    link: Link,
    ledger: Ledger,
    source_proxy: Proxy,
    destination_proxy: Proxy,
    random: StdRng,
}

impl Scene {
    async fn set(audited: bool, seed: u64) -> Scene {
        let pair = Pair::start();
        let source = pair.source.create_database("ledger").await;
        let destination = pair.destination.create_database("ledger").await;
        // Most larger transactions are streamed.
        source.exec("alter database ledger set logical_decoding_work_mem = '64kB'").await;
        let options = LedgerOptions { audited, seed, rate: 100, ..LedgerOptions::default() };
        let ledger = Ledger::create(&source, &destination, options).await;
        let source_proxy = Proxy::start(source.port);
        let destination_proxy = Proxy::start(destination.port);
        let mut link = Link::between(
            &source.at_port(source_proxy.port()),
            &destination.at_port(destination_proxy.port()),
        )
        .start()
        .await;
        // The test itself looks without the proxies.
        link.source = source;
        link.destination = destination;
        link.allow_all();
        link.settle().await;
        Scene { pair, link, ledger, source_proxy, destination_proxy, random: rng(seed, 7) }
    }

    async fn round(&mut self, load: &Load) -> Victim {
        let victim = Victim::choose(&mut self.random);
        load.progress(self.random.random_range(1..120), WITHIN).await;
        let pause = Duration::from_millis(self.random_range(0..80));
        self.moment(pause).await;
        let downtime = match self.random.random_bool(0.5) {
            true => Duration::ZERO,
            false => Duration::from_millis(self.random_range(0..900)),
        };
        match victim {
            Victim::Reader => {
                self.link.reader.kill();
                self.moment(downtime).await;
            }
            Victim::Applier => {
                self.link.applier.kill();
                self.moment(downtime).await;
            }
            Victim::Source => {
                tokio::task::block_in_place(|| self.pair.source.stop(Stop::Kill));
            }
            Victim::Destination => {
                tokio::task::block_in_place(|| self.pair.destination.stop(Stop::Kill));
                self.moment(downtime).await;
            }
            Victim::Everything => {
                self.link.reader.kill();
                self.link.applier.kill();
                tokio::task::block_in_place(|| {
                    self.pair.destination.stop(Stop::Kill);
                    self.pair.source.stop(Stop::Kill);
                });
            }
            Victim::SourceLink => {
                let bytes = self.random_range(0..20_000);
                self.source_proxy.cut_after(bytes);
            }
            Victim::DestinationLink => {
                let bytes = self.random_range(0..2000);
                self.destination_proxy.cut_after(bytes);
            }
            Victim::CommitReply => {
                let before = self.destination_proxy.swallowed();
                let nth = self.random_range(1..4);
                self.destination_proxy.swallow_commit_reply(nth);
                let proxy = &self.destination_proxy;
                wait_until("a swallowed reply", WITHIN, async || proxy.swallowed() > before).await;
            }
        }
        self.raise();
        victim
    }

    /// Starts again whatever was killed.
    fn raise(&mut self) {
        tokio::task::block_in_place(|| {
            self.pair.source.start();
            self.pair.destination.start();
        });
        if !self.link.reader.is_running() {
            self.link.reader = self.link.pipeline.reader();
        }
        if !self.link.applier.is_running() {
            self.link.applier = self.link.pipeline.applier();
        }
        self.link.allow_all();
    }

    /// Neither process may have ended by itself: only a halt does, and nothing here calls for one.
    /// One that found its server away at its very start ends with 4 and is started again, as a
    /// service manager would.
    fn assert_alive(&mut self, victim: Victim) {
        for (what, process) in
            [("reader", &mut self.link.reader), ("applier", &mut self.link.applier)]
        {
            let code = process.ended().and_then(|exit| exit.code);
            assert!(
                matches!(code, None | Some(4)),
                "the {what} ended with {code:?} after {victim:?}:\n{}",
                process.stderr()
            );
        }
        self.raise();
    }

    fn random_range(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.random.random_range(range)
    }

    /// A moment chosen by chance is not a condition, so it is waited for by the clock.
    async fn moment(&self, pause: Duration) {
        let begun = Instant::now();
        wait_until("the moment", WITHIN, async || begun.elapsed() >= pause).await;
    }
}

async fn rounds(audited: bool, seed: u64, rounds: u64, budget: Duration) -> u64 {
    let started = Instant::now();
    let mut scene = Scene::set(audited, seed).await;
    let mut done = 0;
    while done < rounds && started.elapsed() < budget {
        let poller = scene.ledger.poll();
        let load = scene.ledger.start();
        for _ in 0..VERIFY_EVERY.min(rounds - done) {
            let victim = scene.round(&load).await;
            done += 1;
            println!("round {done}: {victim:?} at {:?}", started.elapsed());
            load.progress(5, WITHIN).await;
            scene.assert_alive(victim);
            if started.elapsed() >= budget {
                break;
            }
        }
        load.stop().await;
        scene.source_proxy.cut_after(u64::MAX);
        scene.destination_proxy.cut_after(u64::MAX);
        scene.destination_proxy.swallow_commit_reply(0);
        scene.ledger.verify(WITHIN).await;
        println!("equal after {done} rounds; the poller looked {} times", poller.finish().await);
    }
    scene.link.stop().await;
    scene.link.pipeline.run(&["log", "check"]).await;
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_rounds_of_kills_lose_and_double_nothing() {
    let budget = budget_secs("PGTRAIL_CRASH_SECS", 300);
    let wanted = number("PGTRAIL_CRASH_ROUNDS", ROUNDS);
    let seed = seed("crash");
    // With the audit triggers row operations are counted; without them the applier may fold and
    // COPY, which is another path through it.
    let first = rounds(true, seed, wanted / 2, budget / 2).await;
    let second = rounds(false, seed + 1, wanted - wanted / 2, budget / 2).await;
    println!("{} rounds of {wanted} within {budget:?}", first + second);
    assert!(first > 0 && second > 0, "at least one round of each kind");
}
