//! Pull requests that somebody waits for, each once however many wait: pure but for the replies.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::query::{By, has_name};
use crate::domain::github::details::{Details, Stub};
use crate::enrich::Answer;

/// Pull requests that may wait at once; more than this are told to come again.
const CAPACITY: usize = 10_000;
/// When they should.
const FULL: Duration = Duration::from_secs(10);
/// Answers that left the same one out, after which it is not asked for again at once: each cost a point. Queries halve
/// meanwhile, so that whoever is left out for his neighbours is not left out that often.
const CUTS: u32 = 3;
/// When to come again then.
const CUT: Duration = Duration::from_secs(15);

/// One question of one worker.
#[derive(Debug)]
pub struct Ask {
    /// For what.
    pub stub: Stub,
    /// When the worker goes on without an answer.
    pub deadline: Instant,
    /// To the worker.
    pub reply: oneshot::Sender<Answer>,
}

#[derive(Debug)]
struct Waiter {
    deadline: Instant,
    reply: oneshot::Sender<Answer>,
    /// When its event happened, where the question for it was out already: the answer may be from before then.
    needs: Option<i64>,
}

#[derive(Debug)]
struct Wanted {
    stub: Stub,
    waiters: Vec<Waiter>,
    since: Instant,
    is_out: bool,
    /// Answers that left it out.
    cuts: u32,
}

/// The pull requests that are waited for.
#[derive(Debug, Default)]
pub struct Queue {
    wanted: HashMap<u64, Wanted>,
    by_node: VecDeque<u64>,
    by_name: VecDeque<u64>,
}

impl Queue {
    /// Puts a question into the line for `by`, unless the same one is waiting or out already.
    pub fn add(&mut self, ask: Ask, by: By, now: Instant) {
        let Ask { stub, deadline, reply } = ask;
        let id = stub.pull_request;
        if let Some(wanted) = self.wanted.get_mut(&id) {
            let needs = wanted.is_out.then_some(stub.created_at);
            wanted.waiters.push(Waiter { deadline, reply, needs });
            return;
        }
        if self.wanted.len() >= CAPACITY {
            // A worker that is gone needs no answer, here and below.
            let _ = reply.send(Answer::Later(FULL));
            return;
        }
        let by = if has_name(&stub) { by } else { By::Node };
        let waiters = vec![Waiter { deadline, reply, needs: None }];
        self.wanted.insert(id, Wanted { stub, waiters, since: now, is_out: false, cuts: 0 });
        self.line(by).push_back(id);
    }

    /// How many stand in a line, and since when the first of them.
    pub fn waiting(&self, by: By) -> Option<(usize, Instant)> {
        let line = match by {
            By::Node => &self.by_node,
            By::Name => &self.by_name,
        };
        Some((line.len(), self.wanted.get(line.front()?)?.since))
    }

    /// Takes up to `max` out of a line to ask for them; those that nobody waits for any more are dropped.
    pub fn take(&mut self, by: By, max: usize) -> Vec<Stub> {
        let mut stubs = Vec::new();
        while stubs.len() < max
            && let Some(id) = self.line(by).pop_front()
        {
            let Some(wanted) = self.wanted.get_mut(&id) else { continue };
            if wanted.waiters.iter().all(|waiter| waiter.reply.is_closed()) {
                self.wanted.remove(&id);
                continue;
            }
            wanted.is_out = true;
            stubs.push(wanted.stub.clone());
        }
        stubs
    }

    /// An answer as of `as_of` (Unix seconds). Those whose event is newer than that wait for another one.
    pub fn found(&mut self, pull_request: u64, details: &Details, as_of: i64, now: Instant) {
        if let Some(wanted) = self.wanted.remove(&pull_request) {
            self.tell(wanted, &Answer::Known(details.clone()), as_of, now);
        }
    }

    /// Nothing was found as of `as_of` (Unix seconds): it is asked for in the other line, or gone. Whether it is gone.
    pub fn nothing(&mut self, pull_request: u64, by: By, as_of: i64, now: Instant) -> bool {
        let Some(mut wanted) = self.wanted.remove(&pull_request) else { return false };
        if by == By::Node && has_name(&wanted.stub) {
            wanted.since = now;
            self.put_back(wanted, By::Name);
            return false;
        }
        self.tell(wanted, &Answer::Gone, as_of, now);
        true
    }

    /// An answer left it out: it is asked for again, but not for ever.
    pub fn cut(&mut self, pull_request: u64, by: By) {
        let Some(mut wanted) = self.wanted.remove(&pull_request) else { return };
        wanted.cuts += 1;
        if wanted.cuts >= CUTS {
            return answer(wanted.waiters, &Answer::Later(CUT));
        }
        self.put_back(wanted, by);
    }

    /// There was no answer: they stand in front of the line again, as far as somebody still waits.
    pub fn unanswered(&mut self, pull_requests: impl DoubleEndedIterator<Item = u64>, by: By) {
        for id in pull_requests.rev() {
            if let Some(wanted) = self.wanted.remove(&id) {
                self.put_back(wanted, by);
            }
        }
    }

    /// Nothing is asked until then: those who will not wait as long are told.
    pub fn closed(&mut self, until: Instant, now: Instant) {
        self.wanted.retain(|_, wanted| {
            if wanted.is_out {
                return true;
            }
            let waiters = std::mem::take(&mut wanted.waiters).into_iter();
            let (patient, hurried) = waiters.partition(|waiter| waiter.deadline > until);
            wanted.waiters = patient;
            answer(hurried, &Answer::Later(until - now));
            !wanted.waiters.is_empty()
        });
        let Self { wanted, by_node, by_name } = self;
        for line in [by_node, by_name] {
            line.retain(|id| wanted.contains_key(id));
        }
    }

    /// Answers those whose event is not newer than `as_of`; the others wait for another answer.
    fn tell(&mut self, mut wanted: Wanted, said: &Answer, as_of: i64, now: Instant) {
        let is_older = |waiter: &Waiter| waiter.needs.is_some_and(|needs| needs > as_of);
        let (again, answered) = wanted.waiters.into_iter().partition(is_older);
        (wanted.waiters, wanted.since) = (again, now);
        answer(answered, said);
        self.put_back(wanted, By::Node);
    }

    /// To the front of a line; whoever waits for it there gets the next answer, which is new enough.
    fn put_back(&mut self, mut wanted: Wanted, by: By) {
        wanted.is_out = false;
        wanted.waiters.retain(|waiter| !waiter.reply.is_closed());
        if wanted.waiters.is_empty() {
            return;
        }
        wanted.waiters.iter_mut().for_each(|waiter| waiter.needs = None);
        let id = wanted.stub.pull_request;
        self.wanted.insert(id, wanted);
        self.line(by).push_front(id);
    }

    fn line(&mut self, by: By) -> &mut VecDeque<u64> {
        match by {
            By::Node => &mut self.by_node,
            By::Name => &mut self.by_name,
        }
    }
}

fn answer(waiters: Vec<Waiter>, answer: &Answer) {
    for waiter in waiters {
        let _ = waiter.reply.send(answer.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::Size;

    const SECOND: Duration = Duration::from_secs(1);

    fn ask(pull_request: u64, created_at: i64) -> (Ask, oneshot::Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        let stub = Stub { pull_request, number: Some(1), repo: 7, repo_name: "o/r".to_owned(), created_at };
        (Ask { stub, deadline: Instant::now() + SECOND * 3, reply }, answer)
    }

    fn details() -> Details {
        Details { size: Some(Size { additions: 1, deletions: 2 }), language: None }
    }

    #[test]
    fn the_same_pull_request_is_asked_for_once_and_everybody_is_told() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let mut answers: Vec<_> = (0..3)
            .map(|_| {
                let (ask, answer) = ask(5, 100);
                queue.add(ask, By::Node, now);
                answer
            })
            .collect();
        assert_eq!(queue.waiting(By::Node), Some((1, now)));
        assert_eq!(queue.take(By::Node, 100).len(), 1);
        queue.found(5, &details(), 200, now);
        assert!(answers.iter_mut().all(|answer| answer.try_recv() == Ok(Answer::Known(details()))));
        assert!(queue.wanted.is_empty());
    }

    #[test]
    fn an_answer_from_before_an_event_is_not_given_to_it() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let (opened, mut of_opened) = ask(5, 100);
        queue.add(opened, By::Node, now);
        queue.take(By::Node, 100);
        let (merged, mut of_merged) = ask(5, 300);
        queue.add(merged, By::Node, now);
        queue.found(5, &details(), 200, now);
        assert_eq!(of_opened.try_recv(), Ok(Answer::Known(details())));
        assert!(of_merged.try_recv().is_err());
        assert_eq!(queue.take(By::Node, 100).len(), 1, "it is asked for again");
        // However old that answer calls itself: the question came after the event.
        queue.found(5, &details(), 200, now);
        assert_eq!(of_merged.try_recv(), Ok(Answer::Known(details())));
    }

    #[test]
    fn what_has_no_node_is_asked_for_by_name_and_then_gone() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let (ask_by_name, mut answer) = ask(5, 100);
        queue.add(ask_by_name, By::Node, now);
        queue.take(By::Node, 100);
        assert!(!queue.nothing(5, By::Node, 200, now));
        assert_eq!(queue.take(By::Name, 50).len(), 1);
        assert!(queue.nothing(5, By::Name, 200, now));
        assert_eq!(answer.try_recv(), Ok(Answer::Gone));

        let (mut nameless, mut answer) = ask(6, 100);
        nameless.stub.number = None;
        queue.add(nameless, By::Name, now);
        assert_eq!(queue.take(By::Node, 100).len(), 1);
        assert!(queue.nothing(6, By::Node, 200, now));
        assert_eq!(answer.try_recv(), Ok(Answer::Gone));
    }

    #[test]
    fn what_was_not_there_before_an_event_is_not_gone_for_it() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let (former, mut of_former) = ask(5, 100);
        queue.add(former, By::Name, now);
        queue.take(By::Name, 50);
        let (later, mut of_later) = ask(5, 300);
        queue.add(later, By::Node, now);
        assert!(queue.nothing(5, By::Name, 200, now));
        assert_eq!(of_former.try_recv(), Ok(Answer::Gone));
        assert!(of_later.try_recv().is_err());
        assert_eq!(queue.take(By::Node, 100).len(), 1, "it is asked for again");
    }

    #[test]
    fn what_every_answer_leaves_out_is_put_off() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let (cut, mut answer) = ask(5, 100);
        queue.add(cut, By::Node, now);
        for _ in 0..CUTS {
            assert!(answer.try_recv().is_err());
            assert_eq!(queue.take(By::Node, 100).len(), 1);
            queue.cut(5, By::Node);
        }
        assert_eq!(answer.try_recv(), Ok(Answer::Later(CUT)));
        assert!(queue.wanted.is_empty() && queue.waiting(By::Node).is_none());
    }

    #[test]
    fn while_nothing_is_asked_only_those_wait_who_have_the_time() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let ((patient, mut of_patient), (hurried, mut of_hurried)) = (ask(5, 100), ask(6, 100));
        queue.add(Ask { deadline: now + SECOND * 9, ..patient }, By::Node, now);
        queue.add(Ask { deadline: now + SECOND * 2, ..hurried }, By::Node, now);
        queue.closed(now + SECOND * 5, now);
        assert!(of_patient.try_recv().is_err());
        assert_eq!(of_hurried.try_recv(), Ok(Answer::Later(SECOND * 5)));
        assert_eq!(queue.take(By::Node, 100).len(), 1);
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_dropped_and_the_rest_keeps_its_order() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let mut answers: Vec<_> = (0..6)
            .map(|id| {
                let (ask, answer) = ask(id, 100);
                queue.add(ask, By::Node, now);
                Some(answer)
            })
            .collect();
        answers[1] = None;
        let ids = |stubs: Vec<Stub>| stubs.iter().map(|stub| stub.pull_request).collect::<Vec<_>>();
        let taken = ids(queue.take(By::Node, 3));
        assert_eq!(taken, [0, 2, 3]);
        answers[2] = None;
        queue.unanswered(taken.into_iter(), By::Node);
        assert_eq!(ids(queue.take(By::Node, 9)), [0, 3, 4, 5]);
    }

    #[test]
    fn a_full_queue_sends_away() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let waiting: Vec<_> = (0..CAPACITY as u64)
            .map(|id| {
                let (ask, answer) = ask(id, 100);
                queue.add(ask, By::Node, now);
                answer
            })
            .collect();
        let (more, mut answer) = ask(u64::MAX, 100);
        queue.add(more, By::Node, now);
        assert_eq!((answer.try_recv(), waiting.len()), (Ok(Answer::Later(FULL)), CAPACITY));
    }
}
