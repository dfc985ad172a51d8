//! Histories: clients append to shared lists, each its own elements, under the revision that they read; then everything that
//! anybody was told must be explained by one order of commits.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use fleet_core::store::{Backend, Error, Expect, Rev, Seq, verify_chain};
use serde_json::json;

use crate::{Lab, dsl::*, random::Random};

const LISTS: [&str; 3] = ["l0", "l1", "l2"];
const CLIENTS: u64 = 6;
const TURNS: u64 = 10;

type Elements = Vec<i64>;
/// Of each list: its revision, the place of its last write, its elements.
type Lists = BTreeMap<&'static str, (Rev, Seq, Elements)>;
type Revs = Vec<(&'static str, Rev)>;
/// An append that was acknowledged: the event, the element, its place, the revisions that it gave.
type Append<'e> = (&'e Event, i64, Seq, &'e Revs);

/// What one client did and was told. Moments are counted over all clients.
#[derive(Clone, Debug)]
struct Event {
    client: u64,
    begun: u64,
    ended: u64,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    /// A view: its place, and the lists as it shows them.
    Read(Seq, Lists),
    /// An append of one element to each of these lists, with the revisions that it gave.
    Appended(i64, Seq, Revs),
    /// An append that was refused, since the list was found at this revision.
    Refused(i64, &'static str, Option<Rev>),
}

async fn read_lists(store: &dyn Backend) -> (Seq, Lists) {
    let mut view = store.view().await.expect("a view is given");
    let docs = view.get(&LISTS.map(key)).await.expect("lists are read");
    let lists = LISTS.into_iter().zip(docs).map(|(name, doc)| {
        let told = doc.map_or((0, 0, Vec::new()), |doc| {
            let body: serde_json::Value = serde_json::from_slice(&doc.body).expect("a body is JSON");
            (
                doc.rev,
                doc.seq,
                serde_json::from_value(body["mark"].clone()).expect("a list"),
            )
        });
        (name, told)
    });
    (view.seq(), lists.collect())
}

/// One client: reads, appends to one or two lists, now and then reads again.
async fn client(store: Arc<dyn Backend>, moments: Arc<AtomicU64>, client: u64) -> Vec<Event> {
    let now = || moments.fetch_add(1, Ordering::SeqCst);
    let mut random = Random::new(client);
    let mut events = Vec::new();
    for turn in 0..TURNS {
        let begun = now();
        let (seq, lists) = read_lists(&*store).await;
        let read = What::Read(seq, lists.clone());
        events.push(Event {
            client,
            begun,
            ended: now(),
            what: read,
        });
        if random.below(2) == 0 {
            tokio::task::yield_now().await;
        }
        let element = (client * 1_000 + turn) as i64;
        let chosen: BTreeSet<&'static str> = (0..1 + random.below(2)).map(|_| random.of(&LISTS)).collect();
        let mut steps: Vec<Step> = Vec::new();
        for name in &chosen {
            let (rev, _, elements) = &lists[name];
            let longer: Elements = elements.iter().copied().chain([element]).collect();
            let expect = if *rev == 0 { Expect::Absent } else { Expect::Rev(*rev) };
            // Appended at the end: a list is in the order of its commits, and not in that of its elements.
            let index = vec![vec![fleet_core::store::Value::Null]; 3]
                .into_iter()
                .chain([Vec::new(), sorted(&longer)]);
            let index = index.chain(vec![vec![fleet_core::store::Value::Null]; 2]).collect();
            steps.push(put(name).field("mark", json!(longer)).index(index).expect(expect));
        }
        steps.push(row("ledger", &format!("c{client}"), element));
        steps.push(row("log", "all", element));
        let begun = now();
        let answer = store.commit(batch(element as u128 + 1, steps)).await;
        let ended = now();
        let what = match answer {
            Ok(committed) => {
                let revs = committed.revs.iter().map(|rev| rev.expect("a put has a revision"));
                What::Appended(element, committed.seq, chosen.into_iter().zip(revs).collect())
            }
            Err(Error::Conflict { key, found, .. }) => {
                let list = LISTS.into_iter().find(|list| id(list) == key.id).expect("one of ours");
                What::Refused(element, list, found)
            }
            Err(error) => panic!("{error}"),
        };
        events.push(Event {
            client,
            begun,
            ended,
            what,
        });
    }
    events
}

fn sorted(elements: &Elements) -> Vec<fleet_core::store::Value> {
    let sorted: BTreeSet<i64> = elements.iter().copied().collect();
    sorted.into_iter().map(Into::into).collect()
}

/// Everything that happened, in the order of its beginning.
async fn history(lab: &Lab) -> Vec<Event> {
    let moments = Arc::new(AtomicU64::new(1));
    let clients: Vec<_> = (1..=CLIENTS)
        .map(|number| tokio::spawn(client(lab.store().clone(), moments.clone(), number)))
        .collect();
    let mut events = Vec::new();
    for client in clients {
        events.extend(client.await.expect("a client ends well"));
    }
    events.sort_by_key(|event| event.begun);
    let (appended, refused) = (appended(&events).len(), refused(&events).len());
    assert_eq!(appended + refused, (CLIENTS * TURNS) as usize);
    assert!(appended > 0, "somebody gets through");
    events
}

fn appended(events: &[Event]) -> Vec<Append<'_>> {
    let mut appended: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.what {
            What::Appended(element, seq, revs) => Some((event, *element, *seq, revs)),
            _ => None,
        })
        .collect();
    appended.sort_by_key(|(_, _, seq, _)| *seq);
    appended
}

fn refused(events: &[Event]) -> Vec<(&Event, i64, &'static str, Option<Rev>)> {
    let refused = events.iter().filter_map(|event| match &event.what {
        What::Refused(element, list, found) => Some((event, *element, *list, *found)),
        _ => None,
    });
    refused.collect()
}

/// Reads of all clients, and one of now.
async fn reads(lab: &Lab, events: &[Event]) -> Vec<(Event, Seq, Lists)> {
    let (seq, lists) = read_lists(&**lab.store()).await;
    let last = Event {
        client: 0,
        begun: u64::MAX,
        ended: u64::MAX,
        what: What::Read(seq, lists),
    };
    let all = events.iter().cloned().chain([last]);
    all.filter_map(|event| match event.what.clone() {
        What::Read(seq, lists) => Some((event, seq, lists)),
        _ => None,
    })
    .collect()
}

/// What the lists are at a place, by the commits that were acknowledged.
fn lists_at(events: &[Event], at: Seq) -> Lists {
    let mut lists: Lists = LISTS.map(|name| (name, Default::default())).into();
    for (_, element, seq, revs) in appended(events).into_iter().filter(|(_, _, seq, _)| *seq <= at) {
        for (name, _) in revs {
            let list = lists.get_mut(name).expect("one of ours");
            list.0 += 1;
            list.1 = seq;
            list.2.push(element);
        }
    }
    lists
}

pub(crate) async fn every_append_is_there_once_and_no_other(lab: &mut Lab) {
    let events = history(lab).await;
    let (_, lists) = read_lists(&**lab.store()).await;
    for name in LISTS {
        let elements = &lists[name].2;
        let acknowledged: BTreeSet<i64> = appended(&events)
            .iter()
            .filter(|(_, _, _, revs)| revs.iter().any(|(list, _)| *list == name))
            .map(|(_, element, ..)| *element)
            .collect();
        assert_eq!(elements.len(), acknowledged.len(), "{name}: nothing twice");
        assert_eq!(
            elements.iter().copied().collect::<BTreeSet<_>>(),
            acknowledged,
            "{name}"
        );
    }
}

pub(crate) async fn places_and_revisions_are_given_once(lab: &mut Lab) {
    let events = history(lab).await;
    let all = appended(&events);
    let places: Vec<Seq> = all.iter().map(|(_, _, seq, _)| *seq).collect();
    assert_eq!(
        places,
        (1..=places.len() as u64).collect::<Vec<_>>(),
        "each commit at its place"
    );
    for name in LISTS {
        let revs: Vec<Rev> = all
            .iter()
            .flat_map(|(_, _, _, revs)| revs.iter())
            .filter(|(list, _)| *list == name)
            .map(|(_, rev)| *rev)
            .collect();
        assert_eq!(
            revs,
            (1..=revs.len() as u64).collect::<Vec<_>>(),
            "{name}: revisions follow places"
        );
    }
}

pub(crate) async fn a_list_is_a_beginning_of_every_later_one(lab: &mut Lab) {
    let events = history(lab).await;
    let reads = reads(lab, &events).await;
    for name in LISTS {
        let mut seen: Vec<&Elements> = reads.iter().map(|(_, _, lists)| &lists[name].2).collect();
        seen.sort_by_key(|elements| elements.len());
        for pair in seen.windows(2) {
            assert!(
                pair[1].starts_with(pair[0]),
                "{name}: {:?} and {:?} are of no one history",
                pair[0],
                pair[1]
            );
        }
    }
}

pub(crate) async fn no_client_reads_back_in_time(lab: &mut Lab) {
    let events = history(lab).await;
    for client in 1..=CLIENTS {
        let (mut place, mut lengths) = (0, BTreeMap::new());
        for (_, seq, lists) in reads(lab, &events)
            .await
            .into_iter()
            .filter(|(event, ..)| event.client == client)
        {
            assert!(seq >= place, "client {client} stood at {place} and reads {seq}");
            place = seq;
            for (name, (_, _, elements)) in lists {
                let before = lengths.insert(name, elements.len()).unwrap_or(0);
                assert!(elements.len() >= before, "client {client}: {name} got shorter");
            }
        }
    }
}

pub(crate) async fn what_was_acknowledged_is_read_by_everybody(lab: &mut Lab) {
    let events = history(lab).await;
    let reads = reads(lab, &events).await;
    for (event, element, seq, revs) in appended(&events) {
        for (read, at, lists) in reads.iter().filter(|(read, ..)| read.begun > event.ended) {
            assert!(*at >= seq, "{read:?} began after {element} was acknowledged at {seq}");
            for (name, _) in revs {
                assert!(lists[name].2.contains(&element), "{name} lacks {element} in {read:?}");
            }
        }
    }
}

pub(crate) async fn what_begins_later_gets_a_later_place(lab: &mut Lab) {
    let events = history(lab).await;
    let all = appended(&events);
    for (one, _, first, _) in &all {
        for (other, _, second, _) in &all {
            assert!(
                one.ended > other.begun || first < second,
                "{first} was acknowledged before {second} began"
            );
        }
    }
}

pub(crate) async fn nothing_is_read_before_it_begins(lab: &mut Lab) {
    let events = history(lab).await;
    for (read, at, lists) in reads(lab, &events).await {
        for (event, element, seq, _) in appended(&events)
            .into_iter()
            .filter(|(event, ..)| event.begun > read.ended)
        {
            assert!(seq > at, "{event:?} began after a view at {at}");
            assert!(lists.values().all(|(_, _, elements)| !elements.contains(&element)));
        }
    }
}

pub(crate) async fn every_view_is_one_place_of_the_history(lab: &mut Lab) {
    let events = history(lab).await;
    for (read, at, lists) in reads(lab, &events).await {
        assert_eq!(
            lists,
            lists_at(&events, at),
            "the view at {at} of client {}",
            read.client
        );
    }
}

pub(crate) async fn every_refusal_names_a_revision_of_its_time(lab: &mut Lab) {
    let events = history(lab).await;
    let all = appended(&events);
    for (refusal, element, list, found) in refused(&events) {
        let rev = found.unwrap_or(0);
        let of_list = |(event, _, _, revs): &Append<'_>| {
            revs.iter()
                .find(|(name, _)| *name == list)
                .map(|(_, rev)| (event.begun, event.ended, *rev))
        };
        let oldest = all
            .iter()
            .filter_map(of_list)
            .filter(|(_, ended, _)| *ended < refusal.begun)
            .map(|(.., rev)| rev)
            .max();
        let newest = all
            .iter()
            .filter_map(of_list)
            .filter(|(begun, ..)| *begun < refusal.ended)
            .map(|(.., rev)| rev)
            .max();
        assert!(
            rev >= oldest.unwrap_or(0) && rev <= newest.unwrap_or(0),
            "{element}: {list} at {rev} was of another time"
        );
        assert!(
            lists_at(&events, Seq::MAX)
                .values()
                .all(|(_, _, elements)| !elements.contains(&element)),
            "{element} was refused"
        );
    }
}

pub(crate) async fn feed_is_the_history(lab: &mut Lab) {
    let events = history(lab).await;
    let mut expected = Vec::new();
    for (_, _, seq, revs) in appended(&events) {
        expected.extend(revs.iter().map(|(name, rev)| format!("{seq} thing/{name}@{rev}")));
        let client = appended(&events)[seq as usize - 1].0.client;
        expected.extend([format!("{seq} ledger/c{client}"), format!("{seq} log/all")]);
    }
    assert_eq!(lab.feed(0).await, expected);
}

pub(crate) async fn chain_is_the_history(lab: &mut Lab) {
    let events = history(lab).await;
    let mut rows = lab.stored_rows(read("ledger").limit(1_000)).await;
    rows.sort_by_key(|stored| stored.link.expect("a row of a chain has a link").number);
    let chained: Vec<i64> = rows.iter().map(|stored| stored.row.at).collect();
    let committed: Vec<i64> = appended(&events).iter().map(|(_, element, ..)| *element).collect();
    assert_eq!(chained, committed, "links are in commit order");
    let last = verify_chain(None, rows.iter().map(|stored| (&stored.row, stored.link))).expect("the chain holds");
    assert_eq!(lab.view().await.chain_head("ledger").await.unwrap(), last);
}

pub(crate) async fn lane_holds_what_was_acknowledged(lab: &mut Lab) {
    let events = history(lab).await;
    let rows: BTreeSet<i64> = lab
        .stored_rows(read("log").limit(1_000))
        .await
        .iter()
        .map(|stored| stored.row.at)
        .collect();
    assert_eq!(
        rows,
        appended(&events).iter().map(|(_, element, ..)| *element).collect()
    );
}

pub(crate) async fn history_goes_on_after_reopening(lab: &mut Lab) {
    let events = history(lab).await;
    let last = appended(&events).len() as u64;
    if lab.reopen().await {
        assert_eq!(read_lists(&**lab.store()).await, (last, lists_at(&events, Seq::MAX)));
        let committed = lab.ok([put("l0").size(1), row("ledger", "s", 1)]).await;
        assert_eq!(committed.seq, last + 1);
        let head = lab.view().await.chain_head("ledger").await.unwrap();
        assert_eq!(head.map(|link| link.number), Some(last + 1));
    }
}

pub(crate) async fn latest_values_are_never_older_than_what_was_acknowledged(lab: &mut Lab) {
    // One writer for each value, which only rises; readers of all of them.
    let acknowledged: Arc<[AtomicU64; 4]> = Arc::default();
    let writers: Vec<_> = (0..4_usize)
        .map(|n| {
            let (store, acknowledged) = (lab.store().clone(), acknowledged.clone());
            tokio::spawn(async move {
                for v in 1..=12 {
                    store
                        .ingest(ingest([latest("gauge", &format!("g{n}"), v)]))
                        .await
                        .expect("it is taken");
                    acknowledged[n].store(v as u64, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let keys: Vec<_> = (0..4)
        .map(|n| fleet_core::store::Key::new("gauge", id(&format!("g{n}"))))
        .collect();
    let mut seen = [0; 4];
    while writers.iter().any(|writer| !writer.is_finished()) {
        let before: Vec<u64> = acknowledged.iter().map(|v| v.load(Ordering::SeqCst)).collect();
        let found = lab.view().await.latest(&keys).await.expect("it can be read");
        for (n, body) in found.into_iter().enumerate() {
            let v = body.map_or(0, |body| {
                serde_json::from_slice::<serde_json::Value>(&body).unwrap()["v"]
                    .as_u64()
                    .unwrap()
            });
            assert!(v >= before[n], "g{n} is {v}, and {} was acknowledged", before[n]);
            assert!(v >= seen[n], "g{n} went back");
            seen[n] = v;
        }
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.expect("a writer ends well");
    }
}
