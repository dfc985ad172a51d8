//! Asking a store, and telling answers in a few words.

use fleet_core::store::{
    Backend, Change, Committed, Doc, DocPage, Error, Filter, Key, Name, Record, Result, RowPage, Seq, StoredRow,
    Touched, Value, View,
};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::{Lab, dsl::*};

impl Lab {
    pub(crate) async fn commit(&self, steps: impl IntoIterator<Item = Step>) -> Result<Committed> {
        self.commit_as(self.next_batch() << 64, steps).await
    }

    pub(crate) async fn commit_as(&self, number: u128, steps: impl IntoIterator<Item = Step>) -> Result<Committed> {
        self.store().commit(batch(number, steps)).await
    }

    /// Commits what must be taken.
    #[track_caller]
    pub(crate) fn ok(&self, steps: impl IntoIterator<Item = Step>) -> impl Future<Output = Committed> {
        let commit = self.store().clone();
        let batch = batch(self.next_batch() << 64, steps);
        async move { commit.commit(batch).await.expect("the batch is taken") }
    }

    /// Commits what must be refused; the variant of the error.
    pub(crate) async fn refused(&self, steps: impl IntoIterator<Item = Step>) -> &'static str {
        variant(&self.commit(steps).await.expect_err("the batch is refused"))
    }

    pub(crate) async fn ingest(&self, steps: impl IntoIterator<Item = Step>) -> Result<()> {
        self.store().ingest(ingest(steps)).await
    }

    pub(crate) async fn view(&self) -> Box<dyn View> {
        self.store().view().await.expect("a view is given")
    }

    pub(crate) async fn get(&self, name: &str) -> Option<Doc> {
        self.get_key(key(name)).await
    }

    pub(crate) async fn get_key(&self, key: Key) -> Option<Doc> {
        let mut docs = self.view().await.get(&[key]).await.expect("documents are read");
        assert_eq!(docs.len(), 1, "one answer for each key");
        docs.remove(0)
    }

    pub(crate) async fn rev(&self, name: &str) -> Option<u64> {
        self.get(name).await.map(|doc| doc.rev)
    }

    pub(crate) async fn seq(&self) -> Seq {
        self.view().await.seq()
    }

    /// The whole list, page by page, as names.
    pub(crate) async fn list(&self, list: List) -> String {
        listed(&mut *self.view().await, list).await
    }

    pub(crate) async fn page(&self, list: List) -> Result<DocPage> {
        self.view().await.find(&list.0).await
    }

    pub(crate) async fn count(&self, filter: Filter) -> u64 {
        self.view()
            .await
            .count("thing", &filter)
            .await
            .expect("documents are counted")
    }

    pub(crate) async fn tally(&self, filter: Filter, by: Name) -> String {
        tallied(&mut *self.view().await, filter, by).await
    }

    /// The whole reading, page by page, as `stream@time.number`.
    pub(crate) async fn rows(&self, reading: Reading) -> String {
        read_all(&mut *self.view().await, reading).await
    }

    pub(crate) async fn row_page(&self, reading: Reading) -> Result<RowPage> {
        self.view().await.rows(&reading.0).await
    }

    pub(crate) async fn stored_rows(&self, reading: Reading) -> Vec<StoredRow> {
        self.row_page(reading).await.expect("rows are read").rows
    }

    pub(crate) async fn latest(&self, set: Name, name: &str) -> Option<String> {
        let mut found = self
            .view()
            .await
            .latest(&[Key::new(set, id(name))])
            .await
            .expect("latest values are read");
        assert_eq!(found.len(), 1, "one answer for each key");
        found.remove(0).map(|body| String::from_utf8_lossy(&body).into_owned())
    }

    /// The feed after a place, up to now. A last commit, which is left out of the answer, marks the end.
    pub(crate) async fn feed(&self, after: Seq) -> Vec<String> {
        let mark = format!("~{}", self.next_batch());
        let mut changes = self.store().changes(after).await.expect("the feed is followed");
        let end = self.ok([put(&mark).kind("bare")]).await.seq;
        let mut told = Vec::new();
        loop {
            let next = tokio::time::timeout(PATIENCE, changes.next())
                .await
                .expect("the feed goes on");
            let change = next.expect("the feed does not end").expect("the feed holds no error");
            assert!(change.seq <= end, "the feed went past the mark: {change:?}");
            if change.seq == end {
                return told;
            }
            told.push(tell(&change));
        }
    }

    pub(crate) async fn export(&self) -> Vec<Record> {
        exported(&**self.store()).await
    }
}

/// A change in a few words: `3 thing/a@2`, `4 thing/a@2 gone`, `5 log/s`.
pub(crate) fn tell(change: &Change) -> String {
    match change.touched {
        Touched::Document { key, rev, deleted } => {
            let gone = if deleted { " gone" } else { "" };
            format!("{} {}/{}@{rev}{gone}", change.seq, key.kind, name(key.id))
        }
        Touched::Stream { lane, stream } => format!("{} {lane}/{}", change.seq, name(stream)),
    }
}

pub(crate) async fn listed(view: &mut dyn View, mut list: List) -> String {
    let mut names = Vec::new();
    loop {
        let page = view.find(&list.0).await.expect("the list is served");
        assert!(page.docs.len() <= list.0.limit, "a page holds no more than asked for");
        assert!(
            page.next.is_none() || page.docs.len() == list.0.limit,
            "only a full page has another behind it"
        );
        names.extend(page.docs.iter().map(|doc| name(doc.key.id)));
        assert!(names.len() < 100_000, "the list ends");
        match page.next {
            Some(next) => list.0.after = Some(next),
            None => return names.join(" "),
        }
    }
}

pub(crate) async fn read_all(view: &mut dyn View, mut reading: Reading) -> String {
    let mut rows = Vec::new();
    loop {
        let page = view.rows(&reading.0).await.expect("the reading is served");
        assert!(
            page.rows.len() <= reading.0.limit,
            "a page holds no more than asked for"
        );
        assert!(
            page.next.is_none() || page.rows.len() == reading.0.limit,
            "only a full page has another behind it"
        );
        rows.extend(
            page.rows
                .iter()
                .map(|StoredRow { row, .. }| format!("{}@{}.{}", name(row.stream), row.at, row.n)),
        );
        assert!(rows.len() < 100_000, "the reading ends");
        match page.next {
            Some(next) => reading.0.after = Some(next),
            None => return rows.join(" "),
        }
    }
}

pub(crate) async fn tallied(view: &mut dyn View, filter: Filter, by: Name) -> String {
    let tally = view.tally("thing", &filter, by).await.expect("the tally is served");
    let told = tally.iter().map(|(value, count)| match value {
        Value::Null => format!("null:{count}"),
        Value::Int(value) => format!("{value}:{count}"),
        Value::Text(value) => format!("{value}:{count}"),
        Value::Id(value) => format!("{}:{count}", name(*value)),
    });
    told.collect::<Vec<_>>().join(" ")
}

pub(crate) async fn exported(store: &dyn Backend) -> Vec<Record> {
    let view = store.view().await.expect("a view is given");
    view.export()
        .map_ok(without_index)
        .try_collect()
        .await
        .expect("the export is complete")
}

/// A record without the index values that an export may leave out.
pub(crate) fn without_index(mut record: Record) -> Record {
    if let Record::Row(_, stored) = &mut record {
        stored.row.index.clear();
    }
    record
}

pub(crate) fn variant(error: &Error) -> &'static str {
    match error {
        Error::Conflict { .. } => "Conflict",
        Error::Taken { .. } => "Taken",
        Error::RowConflict { .. } => "RowConflict",
        Error::BatchReused(_) => "BatchReused",
        Error::NoIndex { .. } => "NoIndex",
        Error::Invalid(_) => "Invalid",
        Error::Compacted(_) => "Compacted",
        Error::Corrupt(_) => "Corrupt",
        Error::NotServing(_) => "NotServing",
        Error::Refused(_) => "Refused",
        Error::Unavailable(_) => "Unavailable",
        Error::Unknown(_) => "Unknown",
        _ => "another",
    }
}

/// The variant of the error that a call must end in.
#[track_caller]
pub(crate) fn fails<T>(result: Result<T>) -> &'static str {
    match result {
        Ok(_) => "no error",
        Err(error) => variant(&error),
    }
}
