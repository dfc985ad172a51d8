//! Requests of one kind that come at the same moment, answered together: one view and one commit for all of them.
//!
//! ```text
//!   callers   ask ──▶ queue ──▶ drive: takes all that waits, works it off, answers each
//! ```
//!
//! Whoever comes while nothing is under way waits for nobody; under load many share what each would have to pay alone. The work is
//! done by whoever drives ([`crate::Fleet::run`]), never by a caller: one that goes away must not take along what others wait for.
//! Where nobody drives, as in a small tool, each caller does its own. Requests that can wait come after those that cannot, and wait
//! for at most two seconds on their account.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{Notify, oneshot},
    time::{Duration, Instant, timeout},
};

use crate::kernel::{Class, Code, Error, Result};

/// The server is being stopped: whoever did the work is gone.
const STOPPING: Code = Code::new("server.stopping", Class::Unavailable);

/// How long a request that can wait does so while others are urgent.
const PATIENCE: Duration = Duration::from_secs(2);

/// How much somebody depends on an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Somebody waits for what is told.
    Urgent,
    /// It is safe where it is.
    CanWait,
}

/// Requests that are answered together. How many wait is bounded by those who ask: each of them waits for its answer.
#[derive(Debug)]
pub(crate) struct Gathering<Request, Answer> {
    queue: Mutex<Queue<Request, Answer>>,
    arrived: Notify,
    /// Nothing urgent waits any more.
    calmed: Notify,
    most: usize,
}

#[derive(Debug)]
struct Queue<Request, Answer> {
    drivers: usize,
    urgent: VecDeque<Waiting<Request, Answer>>,
    /// With the time from which they are urgent, too.
    can_wait: VecDeque<(Instant, Waiting<Request, Answer>)>,
}

#[derive(Debug)]
struct Waiting<Request, Answer> {
    request: Request,
    reply: oneshot::Sender<Result<Answer>>,
}

impl<Request, Answer> Queue<Request, Answer> {
    /// The next one: those whose patience has ended first, then those that are urgent, and the others only where `all` are taken.
    fn next(&mut self, now: Instant, all: bool) -> Option<Waiting<Request, Answer>> {
        let first = self.can_wait.front();
        if first.is_some_and(|(patience, _)| all || *patience <= now) {
            return self.can_wait.pop_front().map(|(_, waiting)| waiting);
        }
        self.urgent.pop_front()
    }
}

impl<Request, Answer> Gathering<Request, Answer> {
    /// At most so many requests are answered together.
    pub fn new(most: usize) -> Self {
        Self {
            queue: Mutex::new(Queue {
                drivers: 0,
                urgent: VecDeque::new(),
                can_wait: VecDeque::new(),
            }),
            arrived: Notify::new(),
            calmed: Notify::new(),
            most,
        }
    }

    /// Has a request answered, together with others if somebody drives, else by `work` alone.
    pub async fn ask<F, Fut>(&self, request: Request, work: F) -> Result<Answer>
    where
        F: FnOnce(Vec<Request>) -> Fut,
        Fut: Future<Output = Vec<Result<Answer>>>,
    {
        self.ask_with(Urgency::Urgent, request, work).await
    }

    /// The same for a request that may be less urgent than others.
    pub async fn ask_with<F, Fut>(&self, urgency: Urgency, request: Request, work: F) -> Result<Answer>
    where
        F: FnOnce(Vec<Request>) -> Fut,
        Fut: Future<Output = Vec<Result<Answer>>>,
    {
        match self.enter(urgency, request) {
            Ok(answer) => answer.await.unwrap_or_else(|_| Err(stopping())),
            Err(request) => work(vec![request]).await.pop().unwrap_or_else(|| Err(unanswered())),
        }
    }

    /// Queues a request; gives it back where nobody drives.
    fn enter(&self, urgency: Urgency, request: Request) -> Result<oneshot::Receiver<Result<Answer>>, Request> {
        let mut queue = self.queue();
        if queue.drivers == 0 {
            return Err(request);
        }
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting { request, reply };
        match urgency {
            Urgency::Urgent => queue.urgent.push_back(waiting),
            Urgency::CanWait => queue.can_wait.push_back((Instant::now() + PATIENCE, waiting)),
        }
        drop(queue);
        self.arrived.notify_one();
        Ok(answer)
    }

    /// Works requests off until it is dropped. `work` answers each, in their order. Several may drive at once: what the one reads
    /// while the other waits for its commit costs no time.
    pub async fn drive<F, Fut>(&self, work: F) -> Infallible
    where
        F: Fn(Vec<Request>) -> Fut,
        Fut: Future<Output = Vec<Result<Answer>>>,
    {
        let driving = Driving::begin(self);
        loop {
            let (requests, replies) = driving.0.take();
            if requests.is_empty() {
                self.arrived.notified().await;
                continue;
            }
            let mut answers = work(requests).await.into_iter();
            for reply in replies {
                // Whoever does not wait any more needs no answer.
                let _ = reply.send(answers.next().unwrap_or_else(|| Err(unanswered())));
            }
        }
    }

    /// Waits until nothing urgent waits to be begun, for at most so long: for work that would keep others from the same store.
    pub async fn give_way(&self, at_most: Duration) {
        let calm = async {
            loop {
                let mut calmed = std::pin::pin!(self.calmed.notified());
                calmed.as_mut().enable();
                if self.queue().urgent.is_empty() {
                    return;
                }
                calmed.await;
            }
        };
        // Whoever does not get through in that time is not kept from it for ever.
        let _ = timeout(at_most, calm).await;
    }

    /// The oldest requests that somebody still waits for: those that are urgent, and where there are none, the others.
    fn take(&self) -> (Vec<Request>, Vec<oneshot::Sender<Result<Answer>>>) {
        let mut queue = self.queue();
        let (mut requests, mut replies) = (Vec::new(), Vec::new());
        let now = Instant::now();
        let all = queue.urgent.is_empty();
        while requests.len() < self.most
            && let Some(Waiting { request, reply }) = queue.next(now, all)
        {
            if !reply.is_closed() {
                requests.push(request);
                replies.push(reply);
            }
        }
        if queue.urgent.is_empty() {
            self.calmed.notify_waiters();
        }
        (requests, replies)
    }

    fn queue(&self) -> MutexGuard<'_, Queue<Request, Answer>> {
        // No step leaves it half-changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a driver as long as it drives.
struct Driving<'g, Request, Answer>(&'g Gathering<Request, Answer>);

impl<'g, Request, Answer> Driving<'g, Request, Answer> {
    fn begin(gathering: &'g Gathering<Request, Answer>) -> Self {
        gathering.queue().drivers += 1;
        Self(gathering)
    }
}

impl<Request, Answer> Drop for Driving<'_, Request, Answer> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.drivers -= 1;
        if queue.drivers == 0 {
            // Nobody will answer them.
            queue.urgent.clear();
            queue.can_wait.clear();
            self.0.calmed.notify_waiters();
        } else {
            drop(queue);
            // What this one was woken for.
            self.0.arrived.notify_one();
        }
    }
}

fn stopping() -> Error {
    STOPPING.error("the server is being stopped; try again")
}

fn unanswered() -> Error {
    Error::internal("a request was left without an answer")
}

/// Does the work of many together. Where that fails because storage cannot be reached, that is the answer for all; where it fails for
/// another reason, that may be the fault of one of them, and each is worked off alone.
pub(crate) async fn together<Request, Answer, F, Fut>(requests: Vec<Request>, work: F) -> Vec<Result<Answer>>
where
    Request: Clone,
    F: Fn(Vec<Request>) -> Fut,
    Fut: Future<Output = Result<Vec<Result<Answer>>>>,
{
    let most = requests.len();
    let error = match work(requests.clone()).await {
        Ok(answers) => return answers,
        Err(error) => error,
    };
    if most == 1 {
        return vec![Err(error)];
    }
    if error.class() == Class::Unavailable {
        tracing::warn!(
            requests = most,
            error = error.log(),
            "requests that were worked off together failed"
        );
        return std::iter::repeat_with(|| Err(error.without_cause()))
            .take(most)
            .collect();
    }
    tracing::debug!(
        requests = most,
        error = error.log(),
        "requests are worked off one by one"
    );
    let mut answers = Vec::with_capacity(most);
    for request in requests {
        let answer = match work(vec![request]).await {
            Ok(mut answers) => answers.pop().unwrap_or_else(|| Err(unanswered())),
            Err(error) => Err(error),
        };
        answers.push(answer);
    }
    answers
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::{task::JoinSet, time::sleep};

    use super::*;

    /// Doubles numbers; says with each how many were worked off together. 0 is nobody's fault, 13 is its own.
    async fn double(requests: Vec<u32>) -> Vec<Result<(u32, usize)>> {
        together(requests, async |requests| {
            sleep(Duration::from_secs(1)).await;
            if requests.contains(&0) {
                return Err(STOPPING.error("the disk is away"));
            }
            if requests.contains(&13) {
                return Err(Error::internal("an unlucky number"));
            }
            let most = requests.len();
            Ok(requests.into_iter().map(|number| Ok((number * 2, most))).collect())
        })
        .await
    }

    /// What is answered when these numbers come, each a tick after the other, while one drives.
    async fn check(numbers: &[u32], expected: &[Result<(u32, usize), &str>]) {
        let gathering = Arc::new(Gathering::new(3));
        let mut drivers = JoinSet::new();
        let driven = gathering.clone();
        drivers.spawn(async move { driven.drive(double).await });
        tokio::task::yield_now().await;
        let asks = numbers.iter().map(|number| gathering.ask(*number, double));
        let answers = futures::future::join_all(asks).await;
        let answers: Vec<_> = answers
            .iter()
            .map(|answer| answer.as_ref().map_err(|error| error.code().name()).copied())
            .collect();
        assert_eq!(answers, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_together_is_answered_together_up_to_a_bound() {
        check(&[1], &[Ok((2, 1))]).await;
        check(&[1, 2, 3, 4], &[Ok((2, 3)), Ok((4, 3)), Ok((6, 3)), Ok((8, 1))]).await;
    }

    /// When each is answered, in seconds, of requests that come at once; each takes a second.
    async fn check_order(requests: &[Urgency], expected: &[u64]) {
        let gathering = Arc::new(Gathering::new(1));
        let mut drivers = JoinSet::new();
        let driven = gathering.clone();
        drivers.spawn(async move { driven.drive(double).await });
        tokio::task::yield_now().await;
        let began = Instant::now();
        let asks = requests.iter().map(async |urgency| {
            gathering.ask_with(*urgency, 1, double).await.unwrap();
            began.elapsed().as_secs()
        });
        assert_eq!(futures::future::join_all(asks).await, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn who_can_wait_does_so_for_two_seconds() {
        use Urgency::{CanWait, Urgent};
        check_order(&[CanWait, Urgent], &[2, 1]).await;
        check_order(&[CanWait, CanWait, Urgent, Urgent], &[3, 4, 1, 2]).await;
        check_order(&[CanWait, Urgent, Urgent, Urgent, Urgent], &[3, 1, 2, 4, 5]).await;
    }

    /// When somebody gets through who gives way to these requests for at most so many milliseconds. Each takes a second, one by one.
    async fn check_courtesy(requests: &[Urgency], at_most: u64, expected: u64) {
        let gathering = Arc::new(Gathering::new(1));
        let mut drivers = JoinSet::new();
        let driven = gathering.clone();
        drivers.spawn(async move { driven.drive(double).await });
        tokio::task::yield_now().await;
        let began = Instant::now();
        let asks = requests.iter().map(|urgency| gathering.ask_with(*urgency, 1, double));
        let asks = futures::future::join_all(asks);
        let gives_way = async {
            gathering.give_way(Duration::from_millis(at_most)).await;
            began.elapsed().as_millis()
        };
        let (_, through) = tokio::join!(asks, gives_way);
        assert_eq!(through, u128::from(expected), "{requests:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_way_waits_for_what_is_urgent_until_it_is_begun_and_never_too_long() {
        use Urgency::{CanWait, Urgent};
        check_courtesy(&[], 5_000, 0).await;
        check_courtesy(&[CanWait, CanWait], 5_000, 0).await;
        // The third is begun when two are answered.
        check_courtesy(&[Urgent, Urgent, Urgent], 5_000, 2_000).await;
        check_courtesy(&[Urgent, Urgent, Urgent], 1_500, 1_500).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_of_one_is_its_own_and_an_outage_is_everybodys() {
        check(&[1, 13, 3], &[Ok((2, 1)), Err("internal"), Ok((6, 1))]).await;
        check(&[1, 0, 3], &[Err("server.stopping"); 3]).await;
    }

    #[tokio::test]
    async fn where_nobody_drives_each_does_its_own() {
        let gathering = Gathering::new(3);
        let (one, other) = tokio::join!(gathering.ask(1, double), gathering.ask(2, double));
        assert_eq!((one.unwrap(), other.unwrap()), ((2, 1), (4, 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_takes_nobody_along() {
        let gathering = Arc::new(Gathering::new(3));
        let mut drivers = JoinSet::new();
        let driven = gathering.clone();
        drivers.spawn(async move { driven.drive(double).await });
        tokio::task::yield_now().await;
        let impatient = tokio::time::timeout(Duration::from_millis(500), gathering.ask(1, double));
        let (impatient, other) = tokio::join!(impatient, gathering.ask(2, double));
        assert!(impatient.is_err());
        assert_eq!(other.unwrap(), (4, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_last_driver_goes_those_who_wait_hear_of_it() {
        let gathering = Arc::new(Gathering::new(1));
        let mut drivers = JoinSet::new();
        let driven = gathering.clone();
        drivers.spawn(async move { driven.drive(double).await });
        tokio::task::yield_now().await;
        let stop = async {
            sleep(Duration::from_millis(500)).await;
            drivers.shutdown().await;
        };
        let (one, other, ()) = tokio::join!(gathering.ask(1, double), gathering.ask(2, double), stop);
        assert_eq!(one.unwrap_err().code(), STOPPING);
        assert_eq!(other.unwrap_err().code(), STOPPING);
        assert_eq!(gathering.ask(3, double).await.unwrap(), (6, 1));
    }
}
