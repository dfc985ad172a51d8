//! Typed reading from one view.

use uuid::Uuid;

use super::{Entity, LaneQuery, LaneRow, LatestValue, Query, Versioned, decode};
use crate::{
    kernel::{EntityId, Page, PageRequest, PageToken, Result},
    store::{Field, Filter, Link, Seq, StoredRow, Value, View},
};

/// A typed view: everything read through it is of one place in commit order.
pub struct Reader {
    view: Box<dyn View>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reader(at {})", self.view.seq())
    }
}

impl Reader {
    pub(crate) fn new(view: Box<dyn View>) -> Self {
        Self { view }
    }

    /// Its place in commit order.
    pub fn seq(&self) -> Seq {
        self.view.seq()
    }

    /// The entity of an id.
    pub async fn get<T: Entity>(&mut self, id: T::Id) -> Result<Option<Versioned<T>>> {
        Ok(self.get_many(&[id]).await?.pop().flatten())
    }

    /// The entities of several ids, in their order.
    pub async fn get_many<T: Entity>(&mut self, ids: &[T::Id]) -> Result<Vec<Option<Versioned<T>>>> {
        let keys: Vec<_> = ids.iter().map(|id| T::key(*id)).collect();
        let docs = self.view.get(&keys).await?;
        docs.iter()
            .map(|doc| doc.as_ref().map(decode).transpose().map_err(Into::into))
            .collect()
    }

    /// A page of a list.
    pub async fn list<T: Entity>(&mut self, query: &Query<T>, page: &PageRequest) -> Result<Page<Versioned<T>>> {
        let found = self.view.find(&query.find(page)?).await?;
        let items = found.docs.iter().map(decode).collect::<crate::store::Result<_>>()?;
        let next = found
            .next
            .map(|cursor| PageToken::seal(query.fingerprint()?, &cursor))
            .transpose()?;
        Ok(Page { items, next })
    }

    /// The first entity of a list.
    pub async fn first<T: Entity>(&mut self, query: &Query<T>) -> Result<Option<Versioned<T>>> {
        let page = PageRequest::new(Some(1), None)?;
        Ok(self.list(query, &page).await?.items.pop())
    }

    /// How many entities match.
    pub async fn count<T: Entity>(&mut self, filter: &Filter) -> Result<u64> {
        Ok(self.view.count(T::KIND, filter).await?)
    }

    /// How many entities match, by value of a column.
    pub async fn tally<T: Entity>(&mut self, filter: &Filter, by: Field<T>) -> Result<Vec<(Value, u64)>> {
        Ok(self.view.tally(T::KIND, filter, by.name()).await?)
    }

    /// The latest values of several ids, in their order.
    pub async fn latest<T: LatestValue>(&mut self, ids: &[T::Id]) -> Result<Vec<Option<T>>> {
        let keys: Vec<_> = ids.iter().map(|id| T::key(*id)).collect();
        let bodies = self.view.latest(&keys).await?;
        bodies
            .into_iter()
            .map(|body| body.map(|body| T::decode(&body)).transpose().map_err(Into::into))
            .collect()
    }

    /// The latest values of a set by id, after `after`.
    pub async fn latest_page<T: LatestValue>(&mut self, after: Option<T::Id>, limit: usize) -> Result<Vec<(T::Id, T)>> {
        let page = self.view.latest_page(T::SET, after.map(EntityId::uuid), limit).await?;
        page.into_iter()
            .map(|latest| Ok((T::Id::from_uuid(latest.key.id), T::decode(&latest.body)?)))
            .collect()
    }

    /// A page of a lane.
    pub async fn rows<T: LaneRow>(&mut self, query: &LaneQuery<T>, page: &PageRequest) -> Result<Page<T>> {
        let (rows, next) = self.stored_rows(query, page).await?;
        let items = rows
            .iter()
            .map(|stored| T::from_row(&stored.row))
            .collect::<crate::store::Result<_>>()?;
        Ok(Page { items, next })
    }

    /// A page of a lane, with places and links.
    pub async fn stored_rows<T: LaneRow>(
        &mut self,
        query: &LaneQuery<T>,
        page: &PageRequest,
    ) -> Result<(Vec<StoredRow>, Option<PageToken>)> {
        let found = self.view.rows(&query.read(page)?).await?;
        let next = found
            .next
            .map(|cursor| PageToken::seal(query.fingerprint()?, &cursor))
            .transpose()?;
        Ok((found.rows, next))
    }

    /// The last link of a chained lane.
    pub async fn chain_head<T: LaneRow>(&mut self) -> Result<Option<Link>> {
        Ok(self.view.chain_head(T::LANE).await?)
    }

    /// The row at a place, if there is one.
    pub async fn has_stream<T: LaneRow>(&mut self, stream: Uuid) -> Result<bool> {
        let page = PageRequest::new(Some(1), None)?;
        let (rows, _) = self
            .stored_rows(&LaneQuery::<T>::oldest_first().stream(stream), &page)
            .await?;
        Ok(!rows.is_empty())
    }
}
