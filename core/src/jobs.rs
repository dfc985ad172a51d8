//! Drives jobs: each under a lease, again and again, with a jitter so that servers do not march in step.

use std::{future::Future, pin::pin, time::Duration};

use futures::future::{Either, join_all, select};

use crate::{Fleet, kernel::random_bytes, modules::Job};

/// A lease outlives this many periods, so that one slow tick does not hand the job to somebody else.
const LEASE_PERIODS: u32 = 3;
/// The shortest lease.
const LEASE_LEAST: Duration = Duration::from_secs(30);

/// Runs all jobs until `stop` completes. A tick that is under way is dropped then: jobs are safe to repeat.
pub(crate) async fn run(fleet: &Fleet, stop: impl Future<Output = ()>) {
    let jobs = pin!(join_all(fleet.jobs().iter().map(|job| drive(fleet, job))));
    if let Either::Right(_) = select(jobs, pin!(stop)).await {
        for job in fleet.jobs() {
            // Another server need not wait for the lease to lapse.
            let _ = fleet
                .store()
                .backend()
                .lease(job.name, fleet.server(), Duration::ZERO)
                .await;
        }
    }
}

async fn drive(fleet: &Fleet, job: &Job) {
    let ttl = (job.every * LEASE_PERIODS).max(LEASE_LEAST);
    loop {
        tokio::time::sleep(jittered(job.every, random_bytes::<1>(fleet.random())[0])).await;
        match fleet.store().backend().lease(job.name, fleet.server(), ttl).await {
            Ok(Some(_)) => {
                if let Err(error) = (job.tick)(fleet.clone()).await {
                    tracing::error!(job = job.name, error = error.log(), "a job failed; it is tried again");
                }
            }
            Ok(None) => {}
            Err(error) => tracing::error!(job = job.name, %error, "no lease"),
        }
    }
}

/// Up to a tenth more or less than `every`.
fn jittered(every: Duration, random: u8) -> Duration {
    every.mul_f64(0.9 + f64::from(random) / 255.0 * 0.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jitter_is_a_tenth_either_way() {
        assert_eq!(jittered(Duration::from_secs(10), 0), Duration::from_secs(9));
        assert_eq!(jittered(Duration::from_secs(10), 255), Duration::from_secs(11));
    }
}
