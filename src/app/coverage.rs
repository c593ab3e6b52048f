//! From the polls to whoever wants to know how much of the feed is seen: metrics, status, streams, people.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::alert::{Alerts, Subject};
use crate::clock::Clock;
use crate::coverage::{Concern, Coverage, LagReport, Report};
use crate::shutdown::Shutdown;
use crate::source::github::Observer;
use crate::status::Status;
use crate::telemetry::names;
use crate::worker;

/// How often the estimate is made and published.
const EVERY: Duration = Duration::from_secs(10);

/// The measurement, shared by those who feed it.
#[derive(Clone)]
pub(super) struct Measure {
    coverage: Arc<Mutex<Coverage>>,
    clock: Arc<dyn Clock>,
}

impl Measure {
    /// Measures nothing before it is fed.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { coverage: Arc::default(), clock }
    }

    /// Is told of every poll; holds its caller up for as long as a hundred look-ups take.
    pub fn observer(&self) -> Observer {
        let measure = self.clone();
        Arc::new(move |poll| measure.lock().observe(poll))
    }

    /// Is told of every batch of pull requests that was asked for.
    pub fn enrichment_observer(&self) -> worker::Observer {
        let measure = self.clone();
        Arc::new(move |asked, got| measure.lock().enriched(measure.clock.unix_millis(), asked, got))
    }

    /// Publishes until shutdown.
    pub async fn publish(
        self,
        alert_below: u32,
        status: Arc<Status>,
        alerts: Arc<Alerts>,
        mut shutdown: Shutdown,
    ) {
        gauges(&self.report());
        let (mut concerns, mut measures) = (Vec::new(), false);
        while shutdown.sleep(EVERY).await {
            let report = self.report();
            gauges(&report);
            concerns = tell(Concern::of(&report, alert_below), &concerns, &alerts);
            // Nothing to measure is another thing than nothing seen.
            measures |= !report.is_empty();
            if measures {
                status.set_coverage(report);
            }
        }
    }

    fn report(&self) -> Report {
        self.lock().report(self.clock.unix_millis())
    }

    fn lock(&self) -> MutexGuard<'_, Coverage> {
        self.coverage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says what is new and what is over, and counts all of it for the alerts, whose tolerance and pause decide.
fn tell(concerns: Vec<Concern>, before: &[Concern], alerts: &Alerts) -> Vec<Concern> {
    for concern in concerns.iter().filter(|concern| !before.contains(concern)) {
        tracing::warn!("{concern}");
    }
    for concern in before.iter().filter(|concern| !concerns.contains(concern)) {
        tracing::info!("no longer true: {concern}");
    }
    for concern in &concerns {
        let subject = match concern {
            Concern::Low(_) => Subject::Coverage,
            Concern::Silent(_) => Subject::Silence,
        };
        alerts.count(subject, &concern.to_string());
    }
    concerns
}

/// What cannot be told is NaN: the value before would look true.
fn gauges(report: &Report) {
    let ratio = |percent: Option<f64>| percent.map_or(f64::NAN, |percent| percent / 100.0);
    metrics::gauge!(names::COVERAGE_CAPTURED, "type" => "all").set(ratio(report.captured));
    for (&kind, report) in &report.types {
        metrics::gauge!(names::COVERAGE_CAPTURED, "type" => kind).set(ratio(report.captured));
        metrics::gauge!(names::COVERAGE_QUIET, "type" => kind).set(report.quiet_seconds);
    }
    for (page, report) in &report.pages {
        let page = page.to_string();
        metrics::gauge!(names::COVERAGE_OVERLAP, "page" => page.clone()).set(ratio(report.overlap));
        metrics::gauge!(names::COVERAGE_POLLS, "page" => page.clone()).set(report.polls as f64);
        metrics::gauge!(names::COVERAGE_GAPS, "page" => page).set(report.gaps as f64);
    }
    metrics::gauge!(names::COVERAGE_FOCUS).set(ratio(report.focus.map(|focus| focus.captured)));
    let lag = |of: fn(LagReport) -> f64| report.lag.map_or(f64::NAN, of);
    metrics::gauge!(names::COVERAGE_LAG, "quantile" => "0.5").set(lag(|lag| lag.p50));
    metrics::gauge!(names::COVERAGE_LAG, "quantile" => "0.99").set(lag(|lag| lag.p99));
    metrics::gauge!(names::COVERAGE_ENRICHED).set(ratio(report.enriched));
}
