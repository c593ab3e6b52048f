//! One life of the product's process: the real intake, dedup, workers and feed on the simulated engines.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use pulsehub::alert::{Alerts, Limits, Routes};
use pulsehub::broker::Broker;
use pulsehub::dedup::Dedup;
use pulsehub::enrich::WITHIN;
use pulsehub::live::Feed;
use pulsehub::shutdown::{Shutdown, channel};
use pulsehub::source::{Intake, Origin};
use pulsehub::worker::{Enrichment, Live, Worker};
use tokio::sync::watch;

use super::claims::Claims;
use super::enricher::Encyclopedia;
use super::events::Events;
use super::ledger::Ledger;
use super::oracle::Oracle;
use super::planted::{Bug, Engines};
use super::reader::Reader;
use super::source::Source;
use super::store::Store;
use super::topic::Topic;
use super::world::World;

/// How long a process may take to stop, and a pipeline without faults to finish.
const STOPPING: Duration = Duration::from_secs(300);
const FINISHING: Duration = Duration::from_secs(3_600);

/// Everything that outlives a process.
pub struct Outside {
    pub world: Arc<World>,
    pub events: Arc<Events>,
    pub store: Arc<Store>,
    pub history: Option<Arc<Ledger>>,
    pub topic: Topic,
    pub oracle: Arc<Oracle>,
    /// What is wrong with the product.
    pub bug: Option<Bug>,
}

/// How a process is set up.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub workers: usize,
    /// Of dedup, in seconds.
    pub window: i64,
    /// Whether there is somebody who knows what events do not say.
    pub enriched: bool,
}

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was killed, or failed for good.
    Crashed,
    /// It was asked to stop, and did.
    Stopped,
}

/// Lives until the world's crash, or is asked to stop after `lasts`; without it, when everything is done.
pub async fn live(outside: &Outside, claims: &mut Claims, setup: Setup, lasts: Option<Duration>) -> End {
    let Outside { world, store, .. } = outside;
    outside.oracle.begin_life();
    let dedup = Arc::new(claims.dedup(world.clone(), setup.window));
    let (feed, (trigger, shutdown)) = (Arc::new(Feed::default()), channel());
    let engines = Engines::of(outside, &dedup, &feed);
    let (ended, reading) = watch::channel(false);
    let again = outside.bug == Some(Bug::ShownTwice);
    let (first, late) = (Reader::connect(store, again), tokio::sync::OnceCell::new());
    let mut readers: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
    readers.push(Box::pin(first.run(&feed, world, reading.clone())));
    readers.push(Box::pin(async {
        tokio::time::sleep(Duration::from_millis(world.draw(|random| random.u64(0..40_000)))).await;
        let reader = late.get_or_init(async || Reader::connect(store, again)).await;
        reader.run(&feed, world, reading.clone()).await;
    }));
    let mut tasks: FuturesUnordered<BoxFuture<'_, bool>> = FuturesUnordered::new();
    tasks.push(Box::pin(poll(outside, engines.broker.clone(), dedup, shutdown.clone())));
    let worker = worker(outside, setup, &engines, feed.clone());
    for _ in 0..setup.workers {
        let worker = worker.clone().run(shutdown.clone());
        tasks.push(Box::pin(async { worker.await.is_ok() }));
    }
    let stopping = async {
        match lasts {
            Some(lasts) => tokio::time::sleep(lasts).await,
            None => done(outside).await,
        }
        world.note(format_args!("process: told to stop"));
        trigger.trigger();
        tokio::time::sleep(STOPPING).await;
        world.violate("the process does not stop".to_owned());
    };
    let work = async {
        while let Some(fine) = tasks.next().await {
            if !fine {
                return End::Crashed;
            }
            if !shutdown.is_triggered() {
                world.violate("a task ended before it was told to".to_owned());
            }
        }
        End::Stopped
    };
    tokio::pin!(stopping);
    let end = tokio::select! {
        biased;
        () = world.crashed() => End::Crashed,
        end = work => end,
        () = async { while readers.next().await.is_some() {} } => End::Crashed,
        () = &mut stopping => End::Crashed,
    };
    drop(tasks);
    drop(engines);
    world.note(format_args!("process: {end:?}"));
    if end == End::Stopped {
        ended.send_replace(true);
        while readers.next().await.is_some() {}
        first.check_complete(world, &outside.oracle, store);
    }
    drop(readers);
    for reader in [Some(&first), late.get()].into_iter().flatten() {
        reader.check(world, &outside.events, store);
        if end == End::Stopped && lasts.is_none() {
            reader.check_sum(world, store);
        }
    }
    end
}

fn source(outside: &Outside) -> Source {
    let Outside { world, events, oracle, topic, .. } = outside;
    Source { world: world.clone(), events: events.clone(), oracle: oracle.clone(), topic: topic.clone() }
}

async fn poll(outside: &Outside, broker: Arc<dyn Broker>, dedup: Arc<Dedup>, shutdown: Shutdown) -> bool {
    let intake = Intake::new(Origin::GitHub, dedup, broker, alerts(outside), shutdown.clone()).await;
    let Ok(intake) = intake else { return false };
    source(outside).run(intake, shutdown).await;
    true
}

/// So many that no event is refused as often: all of them are good.
const PAUSES: [Duration; 64] = [Duration::from_secs(1); 64];
/// As many, and growing as outside: a copy whose confirmation is lost is there twice, and so are its copies.
const ASK_AGAIN: [Duration; 64] = {
    let mut pauses = [Duration::from_secs(64); 64];
    let mut index = 0;
    while index < 6 {
        pauses[index] = Duration::from_secs(1 << index);
        index += 1;
    }
    pauses
};

/// To nobody.
fn alerts(outside: &Outside) -> Arc<Alerts> {
    let limits = Limits { tolerance: 0, within: Duration::ZERO, pause: Duration::ZERO };
    let routes = Routes { limits, lark: None, webhook: None };
    Arc::new(Alerts::new(watch::channel(routes).1, outside.world.clone()))
}

/// Who knows what events do not say.
fn enrichment(outside: &Outside) -> Enrichment {
    let enricher = Arc::new(Encyclopedia(outside.world.clone()));
    Enrichment { enricher, within: WITHIN, pauses: &ASK_AGAIN, observer: Arc::new(|_, _| {}) }
}

fn worker(outside: &Outside, setup: Setup, engines: &Engines, feed: Arc<Feed>) -> Worker {
    Worker {
        broker: engines.broker.clone(),
        state: engines.state.clone(),
        enrichment: setup.enriched.then(|| enrichment(outside)),
        history: engines.history.clone(),
        seeder: None,
        live: Live::Memory(feed),
        status: Arc::default(),
        alerts: alerts(outside),
        refusals: Arc::default(),
        pauses: if outside.bug == Some(Bug::NeverRetried) { &[] } else { &PAUSES },
        turn: Arc::default(),
        clock: outside.world.clone(),
        live_max_age: watch::channel(None).1,
        twins: true,
    }
}

/// Waits until everything that happened was shown, taken and settled.
async fn done(outside: &Outside) {
    let Outside { world, topic, .. } = outside;
    let (source, begun) = (source(outside), world.elapsed());
    while !(topic.is_drained() && source.is_exhausted()) {
        if world.elapsed() - begun > FINISHING {
            let (unsettled, missing) = (topic.unsettled(), source.missing());
            return world.violate(format!("never done: unsettled {unsettled:?}, not arrived {missing:?}"));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
