//! Damage in the file.

use std::fs;

use fleet_core::store::{Backend as _, Error, Record};
use fleet_storage_sqlite::SqliteStore;
use futures::TryStreamExt as _;

use crate::{
    common::{Folder, batch, ingest, open, schema, try_open},
    knob,
};

const COMMITS: u128 = 150;

/// What became of a damaged file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// It is not opened.
    Refused,
    /// A check or a reading says so.
    Found,
    /// All records read as before.
    Harmless,
    /// Something else is read, and nobody says so.
    Wrong,
}

/// Documents, latest values and rows. What the feed says, and what is remembered of batches and leases, has nothing that it
/// could be compared with, and is not looked at here.
async fn everything(store: &SqliteStore) -> Result<Vec<Record>, Error> {
    store.view().await?.export().try_collect().await
}

/// Flips one bit of the file, anywhere (`CRASH_FLIPS` times; 150 by default).
pub async fn damaged_pages() -> String {
    let folder = Folder::new();
    let store = open(&folder.file()).await;
    for n in 1..=COMMITS {
        store.commit(batch(n)).await.expect("the commit succeeds");
    }
    store.ingest(ingest(1, 9)).await.expect("the ingest succeeds");
    let before = everything(&store).await.expect("it can be read");
    store.close().await.expect("it closes");
    let whole = fs::read(folder.file()).expect("the file");
    let mut fates = Vec::new();
    for flip in 0..knob("CRASH_FLIPS", 150) as usize {
        // Spread over the file, and over the bits.
        let (at, bit) = ((flip * 7_919 + flip * flip * 13) % whole.len(), flip % 8);
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << bit;
        let copy = Folder::new();
        fs::create_dir_all(copy.file().parent().expect("a folder")).expect("the folder is made");
        fs::write(copy.file(), &damaged).expect("a copy");
        let fate = fate(&copy, &before).await;
        assert_ne!(
            fate,
            Fate::Wrong,
            "bit {bit} of byte {at} of {}, flip {flip}",
            whole.len()
        );
        fates.push(fate);
    }
    let count = |fate: Fate| fates.iter().filter(|one| **one == fate).count();
    assert!(count(Fate::Refused) > 0 && count(Fate::Found) > 0, "{fates:?}");
    format!(
        "{} flips: {} refused, {} found, {} without a difference",
        fates.len(),
        count(Fate::Refused),
        count(Fate::Found),
        count(Fate::Harmless)
    )
}

async fn fate(copy: &Folder, before: &[Record]) -> Fate {
    let damaged = |error: &Error| matches!(error, Error::Corrupt(_) | Error::Refused(_));
    let store = match try_open(&copy.file()).await {
        Ok(store) => store,
        Err(error) if damaged(&error) => return Fate::Refused,
        Err(error) => panic!("damage is no reason for {error:?}"),
    };
    let fate = match store.prepare(&schema()).await {
        Err(error) if damaged(&error) => Fate::Refused,
        Err(error) => panic!("damage is no reason for {error:?}"),
        Ok(_) => match store.check().await {
            Ok(findings) if findings.is_empty() => match everything(&store).await {
                Ok(after) if after == before => Fate::Harmless,
                Ok(_) => Fate::Wrong,
                Err(_) => Fate::Found,
            },
            Ok(_) | Err(Error::Corrupt(_)) => Fate::Found,
            Err(error) => panic!("damage is no reason for {error:?}"),
        },
    };
    drop(store.close().await);
    fate
}
