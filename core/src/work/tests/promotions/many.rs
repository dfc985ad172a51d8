//! Many devices: a few commits, and whoever is interrupted is gone on with.

use super::*;
use crate::work::{
    Batch,
    batch::{expand_stalled, release_due},
};

const MANY: usize = 1_300;

/// Many devices whose dry runs have ended: every third would change nothing.
async fn looked() -> Looking {
    let looking = Looking::new(MANY).await;
    for place in 0..MANY {
        looking
            .end(place, if place % 3 == 0 { Unchanged } else { WouldChange })
            .await;
    }
    looking
}

fn concerned() -> u64 {
    (0..MANY).filter(|place| place % 3 != 0).count() as u64
}

#[tokio::test]
async fn many_devices_are_asked_about_in_one_commit_and_begin_in_a_few() {
    let looking = looked().await;
    let before = looking.work.test.seq().await;
    looking.tick(5).await;
    assert_eq!(looking.work.test.seq().await - before, 1);
    assert_eq!(looking.approval().await.runs, concerned());
    looking.approve(&asks(&looking.work)).await.unwrap();
    let commits = looking.work.test.seq().await - before;
    assert!(commits < 10, "{commits}");
    let real = looking.real().await.id;
    assert_eq!(looking.work.states_of(real).await, [format!("queued {}", concerned())]);
    assert_eq!(looking.work.count::<BatchTargets>().await, 0);
}

#[tokio::test]
async fn nobody_is_asked_before_all_dry_runs_are_made() {
    let work = Work::new().await;
    let mut devices = work.test.devices(MANY).await;
    devices.sort_unstable();
    // Whoever asked is gone as soon as the batch is there.
    let (fleet, key) = (
        &work.test.fleet,
        BatchId::new(work.now(), &crate::kernel::SeededRandom::new(5)),
    );
    drop(
        fleet
            .batches()
            .begin(&asks(&work), &work.file(&devices), Some(key))
            .await
            .unwrap(),
    );
    let batch = fleet.batches().show(&work.test.admin(), key).await.unwrap();
    // Runs are made in the order of their ids.
    let stored = fleet.store().get::<Batch>(key).await.unwrap().unwrap();
    devices.sort_unstable_by_key(|device| stored.run_on(*device));
    let looking = Looking { work, devices, batch };
    let made: u64 = looking.batch.states.iter().map(|count| count.runs).sum();
    for place in 0..usize::try_from(made).unwrap() {
        looking.end(place, WouldChange).await;
    }
    looking.tick(5).await;
    assert_eq!(looking.work.states_of(key).await, [format!("succeeded {made}")]);
    assert!(made < MANY as u64);
    assert_eq!(looking.promotion().await.standing, PromotionStanding::Looking);
}

#[tokio::test]
async fn whoever_agreed_and_was_interrupted_is_gone_on_with() {
    let looking = looked().await;
    looking.tick(5).await;
    let (fleet, agrees) = (&looking.work.test.fleet, agrees(&looking.work));
    // Only the commit of the decision is made.
    let context = &agrees;
    let written = fleet
        .store()
        .change(
            context,
            crate::store::Evidence::Audit(crate::work::approvals::APPROVAL_APPROVE),
            |mut tx| async move {
                let before = crate::work::batch::existing(tx.reader(), looking.batch.id).await?;
                let mut batch = before.value.clone();
                let written = fleet.batches().promote(&mut tx, &mut batch).await?;
                tx.update(&before, &batch)?;
                tx.commit().await?;
                Ok(written)
            },
        )
        .await
        .unwrap();
    drop(written);
    let real = looking.real().await;
    let made: u64 = real.states.iter().map(|count| count.runs).sum();
    assert!((1..concerned()).contains(&made), "{made}");
    looking.work.advance(61);
    let (first, second) = futures::join!(expand_stalled(fleet.clone()), expand_stalled(fleet.clone()));
    first.and(second).unwrap();
    release_due(fleet.clone()).await.unwrap();
    assert_eq!(
        looking.work.states_of(real.id).await,
        [format!("queued {}", concerned())]
    );
}
