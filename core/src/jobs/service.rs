//! Drives jobs.

use std::{future::Future, pin::pin, time::Duration};

use futures::future::{Either, join_all, select};

use super::{JobId, JobState, rules::Rhythm};
use crate::{
    Fleet,
    kernel::{Result, random_bytes},
    modules::Job,
    store::Ingest,
};

/// Runs all jobs until `stop` completes. A tick that is under way is dropped then: jobs are safe to repeat.
pub(crate) async fn run(fleet: &Fleet, stop: impl Future<Output = ()>) {
    let jobs = pin!(join_all(fleet.jobs().iter().map(|job| drive(fleet, job))));
    if let Either::Right(_) = select(jobs, pin!(stop)).await {
        for job in fleet.jobs() {
            // Another server need not wait for the lease to lapse.
            let _ = take(fleet, job, Duration::ZERO).await;
        }
    }
}

async fn drive(fleet: &Fleet, job: &Job) {
    let rhythm = Rhythm::new(job.every);
    loop {
        tokio::time::sleep(rhythm.look(random(fleet))).await;
        if let Err(error) = look(fleet, job, rhythm).await {
            tracing::error!(job = job.name, error = error.log(), "a job could not be looked after");
        }
    }
}

/// Runs the job if this server has its lease and it is due.
async fn look(fleet: &Fleet, job: &Job, rhythm: Rhythm) -> Result<()> {
    if take(fleet, job, rhythm.lease()).await?.is_none() {
        return Ok(());
    }
    if rhythm.remembers() {
        let state = fleet
            .store()
            .reader()
            .await?
            .latest::<JobState>(&[JobId::of(job.name)])
            .await?;
        if !rhythm.is_due(state.first().and_then(Option::as_ref), fleet.clock().now()) {
            return Ok(());
        }
    }
    let result = {
        let tick = pin!((job.tick)(fleet.clone()));
        let lost = pin!(keep(fleet, job, rhythm));
        match select(tick, lost).await {
            Either::Left((result, _)) => result,
            Either::Right(((), _)) => {
                tracing::warn!(
                    job = job.name,
                    "the lease was lost; the job is left to the server that has it"
                );
                return Ok(());
            }
        }
    };
    if let Err(error) = &result {
        tracing::error!(job = job.name, error = error.log(), "a job failed; it is tried again");
    }
    if rhythm.remembers() {
        let now = fleet.clock().now();
        let state = JobState {
            name: job.name.to_owned(),
            due_at: rhythm.next(now, result.is_err(), random(fleet)),
            ran_at: now,
            error: result.err().map(|error| error.code().name().to_owned()),
        };
        let mut ingest = Ingest::default();
        ingest.set(JobId::of(job.name), &state)?;
        fleet.store().ingest(ingest).await?;
    }
    Ok(())
}

/// Renews the lease while a tick takes its time; ends when it is lost.
async fn keep(fleet: &Fleet, job: &Job, rhythm: Rhythm) {
    loop {
        tokio::time::sleep(rhythm.lease() / 3).await;
        match take(fleet, job, rhythm.lease()).await {
            Ok(Some(_)) => {}
            Ok(None) => return,
            // Not knowing is not losing: the lease holds until it lapses, and storage that is away stops the tick itself.
            Err(error) => tracing::warn!(job = job.name, error = error.log(), "the lease was not renewed"),
        }
    }
}

async fn take(fleet: &Fleet, job: &Job, ttl: Duration) -> Result<Option<u64>> {
    Ok(fleet.store().backend().lease(job.name, fleet.server(), ttl).await?)
}

fn random(fleet: &Fleet) -> u8 {
    random_bytes::<1>(fleet.random())[0]
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    };

    use super::*;
    use crate::{devices::testing::TestFleet, kernel::Error};

    /// A job that counts its ticks and fails when it is told to.
    fn job(every: Duration, ticks: &Arc<AtomicUsize>, fails: &Arc<AtomicBool>) -> Job {
        let (ticks, fails) = (ticks.clone(), fails.clone());
        Job {
            name: "test.job",
            every,
            tick: Arc::new(move |_| {
                ticks.fetch_add(1, Ordering::SeqCst);
                let failed = fails.load(Ordering::SeqCst);
                Box::pin(async move { if failed { Err(Error::internal("no")) } else { Ok(()) } })
            }),
        }
    }

    /// Looks after so many seconds each; how often the job ticked in all.
    async fn check(every: u64, fails: bool, looks: &[(u64, usize)]) {
        let test = TestFleet::new().await;
        let (ticks, failing) = (Arc::default(), Arc::new(AtomicBool::new(fails)));
        let job = job(Duration::from_secs(every), &ticks, &failing);
        for (n, (seconds, expected)) in looks.iter().enumerate() {
            test.clock.advance(Duration::from_secs(*seconds));
            // A restart forgets nothing.
            let fleet = test.restarted().await.fleet;
            look(&fleet, &job, Rhythm::new(job.every)).await.unwrap();
            assert_eq!(ticks.load(Ordering::SeqCst), *expected, "look {n}");
            take(&fleet, &job, Duration::ZERO).await.unwrap();
        }
        let states = test.fleet.store().reader().await.unwrap();
        let state = { states }
            .latest::<JobState>(&[JobId::of(job.name)])
            .await
            .unwrap()
            .remove(0);
        assert_eq!(state.is_some_and(|state| state.error.is_some()), fails);
    }

    #[tokio::test]
    async fn a_job_that_comes_round_seldom_runs_once_a_period_whatever_restarts() {
        check(
            3_600,
            false,
            &[(0, 1), (1_000, 1), (1_000, 1), (2_000, 2), (60, 2), (3_960, 3)],
        )
        .await;
    }

    #[tokio::test]
    async fn a_seldom_job_that_failed_is_tried_again_soon() {
        check(3_600, true, &[(0, 1), (60, 1), (300, 2), (60, 2)]).await;
    }

    #[tokio::test]
    async fn a_frequent_job_runs_at_each_look() {
        check(5, false, &[(0, 1), (0, 2), (5, 3)]).await;
    }

    #[tokio::test]
    async fn a_job_runs_on_one_server_at_a_time() {
        let test = TestFleet::new().await;
        let other = test.restarted().await.fleet;
        let (ticks, fails) = (Arc::default(), Arc::default());
        let job = job(Duration::from_secs(5), &ticks, &fails);
        look(&test.fleet, &job, Rhythm::new(job.every)).await.unwrap();
        look(&other, &job, Rhythm::new(job.every)).await.unwrap();
        assert_eq!(ticks.load(Ordering::SeqCst), 1);
        test.clock.advance(Duration::from_secs(31));
        look(&other, &job, Rhythm::new(job.every)).await.unwrap();
        assert_eq!(ticks.load(Ordering::SeqCst), 2, "the lease has lapsed");
    }
}
