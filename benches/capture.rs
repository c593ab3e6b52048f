//! How much of GitHub's feed the poller has, against the mock GitHub in simulated time: rate × budget × poller.

use std::time::Instant;

use pulsehub::source::github::{PollInterval, Priority};

use super::mock_github::{Capture, FULL, Poller, Scenario, run};
use super::table::Row;
use super::{Bench, Result};

const ADAPTIVE: Poller = Poller::Ours(PollInterval::Adaptive, Priority::PullRequests);
const POLLERS: [(&str, Poller); 4] = [
    ("adaptive", ADAPTIVE),
    ("adaptive, everything", Poller::Ours(PollInterval::Adaptive, Priority::Everything)),
    ("obey", Poller::Ours(PollInterval::Obey, Priority::PullRequests)),
    ("page 1 only", Poller::PageOne),
];
const BUDGETS: [(&str, usize); 4] =
    [("no token, 60/h", 0), ("5,000/h", 1), ("2 x 5,000/h", 2), ("4 x 5,000/h", 4)];

/// A simulated hour for each.
pub fn rows(_bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut slowest = 0.0_f64;
    for rate in [50.0, 170.0] {
        for (budget, identities) in BUDGETS {
            for (name, poller) in POLLERS {
                let started = Instant::now();
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
                let capture = runtime
                    .block_on(run(Scenario { payload: FULL, ..Scenario::new(rate, poller, identities) }));
                if poller == ADAPTIVE {
                    slowest = slowest.max(started.elapsed().as_secs_f64());
                }
                rows.push(row(rate, budget, identities, name, poller, &capture));
            }
        }
    }
    let share = slowest / 3_600.0 * 100.0;
    let what = "share of a core that adaptive polling takes, with the mock it is measured against";
    rows.push(Row::goal(what, format!("{share:.2} %"), "<= 5 %", share <= 5.0));
    Ok(rows)
}

fn row(rate: f64, budget: &str, identities: usize, name: &str, poller: Poller, capture: &Capture) -> Row {
    let what = format!("{rate} events/s, {budget}, {name}: captured");
    let wanted = capture.wanted();
    let measured = format!(
        "{wanted:.1} % of pull requests, stars and issues; {:.1} % of pushes; {:.1} % of all; {} requests",
        capture.percent(&["PushEvent"]),
        capture.percent(&[]),
        capture.requests(),
    );
    let suffices = poller == ADAPTIVE && identities > 0;
    match rate < 100.0 {
        true if suffices => Row::goal(what, measured, ">= 99 %", wanted >= 99.0),
        false if suffices => Row::goal(what, measured, ">= 97 %", wanted >= 97.0),
        _ => Row::figure(what, measured),
    }
}
