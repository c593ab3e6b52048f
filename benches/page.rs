//! The dashboard left open in Chromium for half an hour, on the sample's 25 events a second: processor and heap.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::process::{Guard, program};
use super::table::Row;
use super::{Bench, Result};

/// What the scenario prints.
#[derive(Deserialize)]
struct Endurance {
    minutes: f64,
    /// Share of a core that all of the browser's processes used.
    core: f64,
    before: Heap,
    after: Heap,
}

#[derive(Deserialize)]
struct Heap {
    bytes: f64,
    nodes: f64,
}

/// Runs `tests/browser/scenarios/endurance.mjs`; `PULSEHUB_ENDURANCE_MINUTES` makes it shorter.
pub fn rows(_: &Bench) -> Result<Vec<Row>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fetched = Command::new(root.join("scripts/services/browser")).arg("fetch").output()?;
    if !fetched.status.success() {
        return Err(String::from_utf8_lossy(&fetched.stderr).into());
    }
    let directory = tempfile::tempdir()?;
    let mut command = program(directory.path());
    command.args(["run", "--sample", "always"]).stderr(Stdio::piped());
    let mut server = Guard::spawn(&mut command)?;
    let log = server.child().stderr.take().ok_or("no log")?;
    let mut lines = BufReader::new(log).lines();
    let address = loop {
        let line = lines.next().ok_or("the program ended")??;
        if let Some((_, rest)) = line.split_once("serving ws://") {
            break rest.split('/').next().unwrap_or_default().to_owned();
        }
    };
    // Its log is read to the end, so that it is never held up.
    std::thread::spawn(move || lines.for_each(drop));
    let output = Command::new("node")
        .arg(root.join("tests/browser/run.mjs"))
        .args(["endurance", &format!("http://{address}/")])
        .env("PULSEHUB_BROWSER_MODULES", String::from_utf8(fetched.stdout)?.trim())
        .env("PULSEHUB_SCREENSHOTS", directory.path())
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let Endurance { minutes, core, before, after } = serde_json::from_slice(&output.stdout)?;
    let growth = after.bytes / before.bytes - 1.0;
    let heap = format!("{:+.1} % of {:.1} MB in {minutes:.0} min", growth * 100.0, before.bytes / 1e6);
    Ok(vec![
        Row::goal(
            "dashboard at 25 events/s: a core of the browser",
            format!("{:.1} %", core * 100.0),
            "<= 10 %",
            core <= 0.1,
        ),
        Row::goal("dashboard: heap after collection", heap, "flat: <= +10 %", growth <= 0.1),
        Row::figure("dashboard: nodes of the document", format!("{} to {}", before.nodes, after.nodes)),
    ])
}
