//! How far a replay is, for people: a bar on a terminal, plain lines otherwise.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};

use super::{Input, Submitted, Summary};

/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A replay's progress.
pub struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    last_line: Instant,
    total: Submitted,
    files: u64,
    files_done: u64,
    current: String,
}

impl Progress {
    /// Counts in files: their events are not known before they are read.
    pub fn new(inputs: &[Input]) -> Self {
        let files = inputs.len() as u64;
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(files);
            let style = "{spinner} {wide_bar} {pos}/{len} files, {msg}, ETA {eta}";
            bar.set_style(
                ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let now = Instant::now();
        let total = Submitted::default();
        Self { bar, started: now, last_line: now, total, files, files_done: 0, current: String::new() }
    }

    /// An input was replayed before the interruption.
    pub fn skip(&mut self, input: &Input) {
        tracing::info!(file = %input, "already replayed, going on behind it");
        self.end_file();
    }

    /// An input begins.
    pub fn start(&mut self, input: &Input) {
        if !self.current.is_empty() {
            self.end_file();
        }
        self.current = input.to_string();
    }

    /// Some events are confirmed.
    pub fn advance(&mut self, submitted: Submitted) {
        self.total.add(submitted);
        match &self.bar {
            Some(bar) => bar.set_message(self.line()),
            None if self.last_line.elapsed() >= LINE_EVERY => {
                self.last_line = Instant::now();
                tracing::info!(
                    "{} of {} files, {}: {}",
                    self.files_done,
                    self.files,
                    self.current,
                    self.line()
                );
            }
            None => {}
        }
    }

    /// Everything was read.
    pub fn finish(&self, summary: &Summary) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let Submitted { published, duplicates, rejected } = summary.submitted;
        let seconds = self.started.elapsed();
        tracing::info!(
            files = summary.files,
            bad_files = summary.bad_files,
            published,
            duplicates,
            rejected,
            "replayed in {}: {}",
            HumanDuration(seconds),
            self.line()
        );
    }

    fn end_file(&mut self) {
        self.files_done += 1;
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    fn line(&self) -> String {
        let events = self.total.published + self.total.duplicates;
        let rate = events as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        format!("{} events, {}/s", HumanCount(events), HumanCount(rate as u64))
    }
}
