//! `/sampling`: the counters at once, then the events that match the client's params.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::params::{InvalidParams, Params};
use super::{Conversation, Handshake, WRITE_BYTES, WRITE_FRAMES, upgrade};
use crate::coverage::Report;
use crate::domain::github::sampling::{Fields, Form, Matcher};
use crate::live::{Cursor, Feed, Frame, SharedForm};
use crate::server::clients::Endpoint;
use crate::server::public::Public;
use crate::telemetry::names;

/// Least time between two frames on coverage.
const COVERAGE_EVERY: Duration = Duration::from_secs(10);

/// Upgrades the request.
pub async fn connect(State(public): State<Arc<Public>>, ws: Handshake) -> Response {
    let first = public.counters.first_message();
    let sampling = Sampling {
        feed: public.feed.clone(),
        head: public.feed.head(),
        after: Cursor::after_batch(first.seq),
        greeting: first.frame,
        subscription: None,
        coverage: Told { reports: public.status.coverage(), not_before: None },
    };
    upgrade(ws, &public, Endpoint::Sampling, sampling)
}

struct Sampling {
    feed: Arc<Feed>,
    head: watch::Receiver<u64>,
    /// What is in the first message is not sent again.
    after: Cursor,
    greeting: Frame,
    subscription: Option<Subscription>,
    coverage: Told,
}

/// What a client was told of coverage.
struct Told {
    reports: watch::Receiver<Option<Arc<Report>>>,
    not_before: Option<Instant>,
}

impl Told {
    /// Waits for the next frame, at once for the first. Cancel safe. For ever where coverage is not measured.
    async fn next(&mut self) -> Frame {
        loop {
            if let Some(at) = self.not_before {
                sleep_until(at).await;
            }
            let report = self.reports.borrow_and_update().clone();
            if let Some(report) = report {
                self.not_before = Some(Instant::now() + COVERAGE_EVERY);
                return serde_json::json!({ "coverage": report.summary() }).to_string().into();
            }
            if self.reports.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

struct Subscription {
    position: u64,
    matched: u64,
    request: Request,
}

/// What the client asked for.
struct Request {
    /// Of the events that match, every so many-th is sent.
    every: u64,
    matcher: Matcher,
    form: SharedForm,
    /// Whether it is told how much of the feed is seen.
    coverage: bool,
}

impl Request {
    fn parse(text: &str, feed: &Feed) -> Result<Self, InvalidParams> {
        let params = Params::parse(text)?;
        let rate = params.integer("samplingRate")?;
        let every = rate.and_then(|rate| u64::try_from(rate).ok()).filter(|&rate| rate > 0);
        let every =
            every.ok_or_else(|| InvalidParams::field("samplingRate", "a positive integer is required"))?;
        let matcher = Matcher {
            kind: params.string("eventType")?,
            repo_name: params.string("repoName")?,
            actor_login: params.string("userName")?,
            actions: params.strings("action")?,
        };
        let mut paths = params.strings("filter")?;
        Fields::check(&paths).map_err(|error| InvalidParams::field("filter", error.to_string()))?;
        let list = params.string("returnType")?.is_some_and(|form| form == "list");
        let form = match (paths.is_empty(), list) {
            (true, _) => Form::Whole,
            (false, true) => Form::List(Fields::new(paths)),
            (false, false) => {
                // An object has each key once, however often it was asked for.
                let mut seen = HashSet::new();
                paths.retain(|path| seen.insert(path.clone()));
                Form::Map(Fields::new(paths))
            }
        };
        Ok(Self { every, matcher, form: feed.share(form), coverage: params.flag("coverage")? })
    }
}

impl Conversation for Sampling {
    fn greeting(&mut self) -> Option<Frame> {
        Some(std::mem::take(&mut self.greeting))
    }

    fn params(&mut self, text: &str) -> Result<(), InvalidParams> {
        let request = Request::parse(text, &self.feed)?;
        let position = match &self.subscription {
            Some(subscription) => subscription.position,
            None => self.feed.position_after(self.after),
        };
        self.subscription = Some(Subscription { position, matched: 0, request });
        Ok(())
    }

    async fn next(&mut self) -> Vec<Frame> {
        let Some(subscription) = &mut self.subscription else { return std::future::pending().await };
        loop {
            tokio::select! {
                biased;
                // At most every ten seconds, so it never stands in the way of events.
                frame = self.coverage.next(), if subscription.request.coverage => return vec![frame],
                // The head is gone only with the feed, which this holds.
                _ = self.head.wait_for(|&head| head > subscription.position) => {}
            }
            let read = self.feed.read(&mut subscription.position, WRITE_FRAMES);
            if read.lost > 0 {
                metrics::counter!(names::DROPPED, "endpoint" => Endpoint::Sampling.label())
                    .increment(read.lost);
            }
            let Request { every, matcher, form, .. } = &subscription.request;
            let (mut frames, mut bytes) = (Vec::new(), 0);
            for (index, event) in read.events.iter().enumerate() {
                if event.cursor > self.after && matcher.matches(&event.sample) {
                    subscription.matched += 1;
                    if subscription.matched % every == 0 {
                        let frame = event.frame(form);
                        bytes += frame.wire().len();
                        frames.push(frame);
                    }
                }
                if bytes > WRITE_BYTES {
                    // The rest is read again once this is written.
                    subscription.position -= (read.events.len() - index - 1) as u64;
                    break;
                }
            }
            if !frames.is_empty() {
                return frames;
            }
        }
    }
}
