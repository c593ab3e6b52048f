//! What the sets of a year take: 10 million developers and 40 million repositories, each among the ids given out so far.

use redis::aio::MultiplexedConnection;

use crate::Result;
use crate::server::{self, Server};

/// Ids that GitHub had given out by the end of 2026, about.
pub const LARGEST_DEVELOPER: u64 = 290_000_000;
pub const LARGEST_REPOSITORY: u64 = 1_150_000_000;

/// Ids of one bitmap: see `lua/README.md`.
const BITMAP_IDS: u64 = (1 << 16) - 64;

/// Bitmaps that are written with one pipeline.
const PIPELINE: usize = 256;

/// Fills the bitmaps of `kind` up to `largest` with `members` ids, each made as `apply.lua` makes it.
async fn fill(redis: &mut MultiplexedConnection, kind: &str, largest: u64, members: u64) -> Result<u64> {
    let bitmaps: Vec<u64> = (0..=largest / BITMAP_IDS).collect();
    let mut random = fastrand::Rng::with_seed(largest);
    for chunk in bitmaps.chunks(PIPELINE) {
        let mut pipeline = redis::pipe();
        for number in chunk {
            let key = format!("ph:{kind}:2026:{number}");
            let mut bits = vec![0_u8; BITMAP_IDS as usize / 8];
            for _ in 0..members * BITMAP_IDS / largest {
                let id = random.usize(0..BITMAP_IDS as usize);
                bits[id / 8] |= 128 >> (id % 8);
            }
            pipeline.cmd("SETBIT").arg(&key).arg(BITMAP_IDS - 1).arg(0).ignore();
            pipeline.cmd("SETRANGE").arg(&key).arg(0).arg(bits).ignore();
        }
        pipeline.query_async::<()>(redis).await?;
    }
    Ok(bitmaps.len() as u64)
}

/// Prints the table.
pub async fn measure() -> Result<()> {
    let (_server, mut redis) = Server::start().await?;
    println!("| what | keys | used_memory |");
    println!("| --- | --- | --- |");
    let sets = [("dev", LARGEST_DEVELOPER, 10_000_000_u64), ("repo", LARGEST_REPOSITORY, 40_000_000)];
    for (kind, largest, members) in sets {
        let before = server::memory(&mut redis).await?;
        let keys = fill(&mut redis, kind, largest, members).await?;
        let after = server::memory(&mut redis).await?;
        let used = (after.used - before.used) / 1e6;
        println!("| {members} of {largest} ids as ph:{kind}:<Y>:<n> | {keys} | {used:.1} MB |");
    }
    let all = server::memory(&mut redis).await?;
    println!("\nall of it: used_memory {:.1} MB, resident {:.1} MB", all.used / 1e6, all.resident / 1e6);
    Ok(())
}
