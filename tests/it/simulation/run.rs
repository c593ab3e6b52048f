//! One run: what a seed decides, some lives with faults, one without, and the check.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::claims::Claims;
use super::events::Events;
use super::faults::{Fault, Hits, Rates};
use super::ledger::Ledger;
use super::oracle::Oracle;
use super::planted::Bug;
use super::process::{End, Outside, Setup, live};
use super::store::Store;
use super::topic::Topic;
use super::world::World;

/// What became of a run.
pub struct Outcome {
    pub violation: Option<String>,
    /// Empty where none was asked for.
    pub journal: String,
    pub hits: Hits,
}

/// Runs what `seed` decides, with a bug or without, in this thread and in no real time.
pub fn run(seed: u64, bug: Option<Bug>, keeps_journal: bool) -> Outcome {
    // The product's backoff draws its jitter from the thread's generator.
    fastrand::seed(seed);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(lives(Rng::with_seed(seed), bug, keeps_journal))
}

async fn lives(mut random: Rng, bug: Option<Bug>, keeps_journal: bool) -> Outcome {
    let enriched = random.bool();
    let events = Arc::new(Events::draw(enriched, &mut random));
    let window = random.choice([0, 120, 48 * 3600]).unwrap();
    let setup = Setup { workers: random.usize(1..=3), window, enriched };
    let (writes_history, batch_limit) = (random.bool(), random.choice([1, 3, 10, 100]).unwrap());
    let faulty_lives = random.usize(0..5);
    let reopens_claims = random.u8(0..8) == 0;
    let world = Arc::new(World::new(random, keeps_journal));
    world.note(format_args!("{setup:?}, history {writes_history}, batches of {batch_limit}"));
    let outside = outside(&world, events, writes_history, batch_limit, bug);
    outside.topic.add(outside.events.foreign.iter().cloned());
    let mut claims = Claims::new();
    for _ in 0..faulty_lives {
        let rates = world.draw(Rates::draw);
        let crash_at = world.draw(|random| {
            let steps = random.choice([10, 30, 100, 300]).unwrap();
            (random.u8(0..4) > 0).then(|| random.u64(1..=steps))
        });
        let lasts = Duration::from_millis(world.draw(|random| random.u64(0..60_000)));
        world.note(format_args!("process: lives for {lasts:?} or {crash_at:?} steps with {rates:?}"));
        world.begin_life(rates.clone(), crash_at);
        if live(&outside, &mut claims, setup, Some(lasts)).await == End::Crashed {
            if world.happens(Fault::ClaimsLost) {
                claims = Claims::new();
            }
            if rates.of(Fault::StateRestarts) > 0.0 && world.draw(Rng::bool) {
                outside.store.restart();
            }
        }
        if reopens_claims {
            claims.close();
        }
        tokio::time::sleep(Duration::from_millis(world.draw(|random| random.u64(0..20_000)))).await;
    }
    world.begin_life(Rates::default(), None);
    live(&outside, &mut claims, setup, None).await;
    outside.oracle.final_check(&outside.topic.taken());
    Outcome { violation: world.violation(), journal: world.journal(), hits: world.take_hits() }
}

fn outside(
    world: &Arc<World>,
    events: Arc<Events>,
    writes_history: bool,
    batch_limit: usize,
    bug: Option<Bug>,
) -> Outside {
    let world = world.clone();
    let store = Arc::new(Store::new(world.clone(), batch_limit, bug));
    let history = writes_history.then(|| Arc::new(Ledger::new(world.clone())));
    let oracle = Arc::new(Oracle::new(world.clone(), events.clone(), store.clone(), history.clone()));
    let topic = Topic::new(world.clone(), oracle.clone());
    Outside { world, events, store, history, topic, oracle, bug }
}
