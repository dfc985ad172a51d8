//! Use cases over windows.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    HeldWindow, MAX_OCCURRENCES, MAX_RANGE_SECONDS, NewWindow, OccurrenceView, Question, WINDOW_CREATE, WINDOW_DELETE,
    WINDOW_NAME_TAKEN, WINDOW_NOT_FOUND, WINDOW_SCOPE_UNKNOWN, WINDOW_TOO_MANY, WINDOW_UPDATE, WINDOWS_READ,
    WINDOWS_WRITE, Window, WindowChange, WindowDecision, WindowId, WindowScope, WindowSet, WindowView,
    ical::{self, Entry},
    request::Checked,
    rules::Ready,
};
use crate::{
    access::Context,
    devices::{Device, DeviceGroup, DeviceId, DeviceSummary, device::fold, not_found, require_in_scope},
    kernel::{Clock, EntityId, Error, Page, PageRequest, PageToken, Result, Timestamp, query_fingerprint},
    store::{Direction, Entity, Evidence, Filter, Query, Reader, Rev, Store, TAKEN, Tx, Versioned},
    work::{
        Operations,
        desired::{Catalogues, windows_changed},
        plans::{PLANS_READ, Timetables},
    },
};

/// The most windows of a fleet: each decision looks at all of them.
pub const MAX_WINDOWS: u64 = 1_000;
/// How far a calendar reaches when nobody says, in seconds: 90 days.
const DEFAULT_RANGE: u64 = 90 * 86_400;

/// A question whether work may begin on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"device": "019aa5b2-4c6e-7a30-8f21-5d0c6b7e9a41", "operation": "shell"})))]
#[serde(deny_unknown_fields)]
pub struct WindowCheck {
    /// The device.
    pub device: DeviceId,
    /// The kind of operation, such as `shell`.
    pub operation: String,
    /// When it would begin; now when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub at: Option<Timestamp>,
}

/// Which occurrences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OccurrenceFilter {
    /// Those that end after this time; now when left out.
    pub from: Option<Timestamp>,
    /// Those that start before this time; 90 days after `from` when left out, and at most 366.
    pub to: Option<Timestamp>,
    /// Only of this window.
    pub window: Option<WindowId>,
}

/// Reads and changes windows, and says what follows from them.
#[derive(Debug)]
pub struct WindowService<'a> {
    store: &'a Store,
    operations: &'a Operations,
    catalogues: &'a Catalogues,
}

impl<'a> WindowService<'a> {
    pub(crate) fn new(store: &'a Store, operations: &'a Operations, catalogues: &'a Catalogues) -> Self {
        Self {
            store,
            operations,
            catalogues,
        }
    }

    /// A page of windows, by name; only those whose name begins with `name`, where it is given.
    pub async fn list(&self, context: &Context, name: Option<&str>, page: &PageRequest) -> Result<Page<WindowView>> {
        context.require(WINDOWS_READ)?;
        let mut query = Query::all().order(Window::NAME, Direction::Ascending);
        if let Some(name) = name {
            query = query.filter(Window::NAME.starts_with(fold(name)));
        }
        let found = self.store.reader().await?.list(&query, page).await?;
        let now = self.store.clock().now();
        Ok(found.map(|window| view(window, now)))
    }

    /// One window.
    pub async fn show(&self, context: &Context, id: WindowId) -> Result<WindowView> {
        context.require(WINDOWS_READ)?;
        let window = self.store.get(id).await?.ok_or_else(|| window_not_found(id))?;
        Ok(view(window, self.store.clock().now()))
    }

    /// Makes a window.
    pub async fn create(&self, context: &Context, new: &NewWindow) -> Result<WindowView> {
        context.require(WINDOWS_WRITE)?.require_all(WINDOWS_WRITE)?;
        let now = self.store.clock().now();
        let checked = &WindowChange::from(new).check(self.operations, now)?;
        let mut window = Window {
            id: WindowId::new(now, self.store.random()),
            name: String::new(),
            description: String::new(),
            enabled: new.enabled,
            kind: new.kind,
            scope: WindowScope::default(),
            when: checked
                .when
                .clone()
                .ok_or_else(|| Error::internal("a new window has times"))?,
            outside: Default::default(),
            operations: BTreeSet::new(),
            created_at: now,
            updated_at: now,
        };
        apply(checked, &mut window);
        let window = &window;
        self.store
            .change(context, Evidence::Audit(WINDOW_CREATE), |mut tx| async move {
                check_known(tx.reader(), &window.scope, &WindowScope::default()).await?;
                if tx.reader().count::<Window>(&Filter::All).await? >= MAX_WINDOWS {
                    let why =
                        format!("there are {MAX_WINDOWS} windows, as many as there may be; delete one that is over");
                    return Err(WINDOW_TOO_MANY.error(why));
                }
                tx.create(window)?;
                if window.enabled {
                    concern(&mut tx, self.store, &[&window.scope]).await?;
                }
                tx.subject::<Window>(window.id, window.name.clone());
                tx.commit().await
            })
            .await
            .map_err(name_taken)?;
        self.catalogues.ring();
        self.read_back(window.id).await
    }

    /// Changes a window. With `expected`, only if nobody changed it since that revision.
    pub async fn set(
        &self,
        context: &Context,
        id: WindowId,
        expected: Option<Rev>,
        change: &WindowChange,
    ) -> Result<WindowView> {
        context.require(WINDOWS_WRITE)?.require_all(WINDOWS_WRITE)?;
        let now = self.store.clock().now();
        let checked = &change.check(self.operations, now)?;
        self.store
            .change(context, Evidence::Audit(WINDOW_UPDATE), |mut tx| async move {
                let before: Versioned<Window> = tx.get(id).await?.ok_or_else(|| window_not_found(id))?;
                before.require_revision(expected)?;
                let mut after = before.value.clone();
                apply(checked, &mut after);
                // What was there before may have been deleted since, and stays.
                check_known(tx.reader(), &after.scope, &before.value.scope).await?;
                for member in changed(&before.value, &after) {
                    tx.changed(member);
                }
                if after != before.value {
                    after.updated_at = now;
                }
                tx.subject::<Window>(id, after.name.clone());
                tx.update(&before, &after)?;
                if what_devices_hold(&before.value) != what_devices_hold(&after) {
                    concern(&mut tx, self.store, &[&before.value.scope, &after.scope]).await?;
                }
                tx.commit().await
            })
            .await
            .map_err(name_taken)?;
        self.catalogues.ring();
        self.read_back(id).await
    }

    /// Deletes a window. With `expected`, only if nobody changed it since that revision.
    pub async fn delete(&self, context: &Context, id: WindowId, expected: Option<Rev>) -> Result<()> {
        context.require(WINDOWS_WRITE)?.require_all(WINDOWS_WRITE)?;
        self.store
            .change(context, Evidence::Audit(WINDOW_DELETE), |mut tx| async move {
                let window: Versioned<Window> = tx.get(id).await?.ok_or_else(|| window_not_found(id))?;
                window.require_revision(expected)?;
                tx.subject::<Window>(id, window.value.name.clone());
                tx.delete(&window);
                if window.enabled {
                    concern(&mut tx, self.store, &[&window.value.scope]).await?;
                }
                tx.commit().await
            })
            .await?;
        self.catalogues.ring();
        Ok(())
    }

    /// Whether work of a kind may begin on a device, and why.
    pub async fn check(&self, context: &Context, check: &WindowCheck) -> Result<WindowDecision> {
        require_in_scope(&context.require(WINDOWS_READ)?, check.device)?;
        let operation = self.operations.kind(&check.operation)?;
        let mut reader = self.store.reader().await?;
        let summary = reader.get::<DeviceSummary>(check.device).await?;
        let summary = summary.ok_or_else(|| not_found(check.device))?.value;
        let windows = load(&mut reader, None).await?;
        Ok(windows.decide(&Question {
            device: check.device,
            groups: &summary.groups,
            operation: operation.name,
            lane: operation.lane,
            at: check.at.unwrap_or_else(|| self.store.clock().now()),
        }))
    }

    /// A page of the occurrences of windows that count, in the order of their starts.
    pub async fn occurrences(
        &self,
        context: &Context,
        filter: &OccurrenceFilter,
        page: &PageRequest,
    ) -> Result<Page<OccurrenceView>> {
        context.require(WINDOWS_READ)?;
        // Where the caller names no start, pages follow the clock: a token belongs to what was asked.
        let fingerprint = query_fingerprint(&("window occurrences", filter.from, filter.to, filter.window))?;
        let (from, to) = range(filter, &**self.store.clock())?;
        let after = page.cursor(fingerprint)?;
        let windows = load(&mut self.store.reader().await?, filter.window).await?;
        let (found, has_more) = windows.occurrences(from, to, after, page.limit());
        let last = found.last().filter(|_| has_more);
        Ok(Page {
            next: last
                .map(|last| PageToken::seal(fingerprint, &last.place()))
                .transpose()?,
            items: found.iter().map(|occurrence| occurrence.view()).collect(),
        })
    }

    /// The same as a calendar that other programs subscribe to (iCalendar, RFC 5545): at most [`MAX_OCCURRENCES`]. Unless one window is asked
    /// for, the times of plans are among them, for whoever may see plans.
    pub async fn calendar(&self, context: &Context, filter: &OccurrenceFilter) -> Result<String> {
        context.require(WINDOWS_READ)?;
        let (from, to) = range(filter, &**self.store.clock())?;
        let mut reader = self.store.reader().await?;
        let windows = load(&mut reader, filter.window).await?;
        let plans = match filter.window.is_none() && context.require(PLANS_READ).is_ok() {
            true => Some(Timetables::load(&mut reader).await?),
            false => None,
        };
        drop(reader);
        let (found, mut has_more) = windows.occurrences(from, to, None, MAX_OCCURRENCES);
        let mut entries: Vec<_> = found.into_iter().map(Entry::Window).collect();
        if let Some(plans) = &plans {
            let (times, has_more_times) = plans.times(from, to, MAX_OCCURRENCES);
            entries.extend(times.into_iter().map(Entry::Plan));
            entries.sort_by_key(Entry::starts_at);
            has_more |= has_more_times || entries.len() > MAX_OCCURRENCES;
            entries.truncate(MAX_OCCURRENCES);
        }
        Ok(ical::calendar(&entries, !has_more))
    }

    /// All windows that count, ready to be asked: for whoever starts work, once for many devices. The caller has checked who asks.
    pub async fn all(&self) -> Result<WindowSet> {
        windows_that_count(&mut self.store.reader().await?).await
    }

    async fn read_back(&self, id: WindowId) -> Result<WindowView> {
        // Whoever may write may read what was written.
        self.show(&Context::system("work"), id).await
    }
}

/// What of a window devices keep by themselves, and which.
fn what_devices_hold(window: &Window) -> Option<(HeldWindow, &WindowScope)> {
    window.enabled.then(|| (window.held(), &window.scope))
}

/// Notes that devices of these scopes hold other windows from now on.
async fn concern(tx: &mut Tx, store: &Store, scopes: &[&WindowScope]) -> Result<()> {
    let mut whom = WindowScope::default();
    for scope in scopes {
        whom.all |= scope.all;
        whom.groups.extend(&scope.groups);
        whom.devices.extend(&scope.devices);
    }
    windows_changed(tx, store, whom).await
}

/// All windows that count.
pub(in crate::work) async fn windows_that_count(reader: &mut Reader) -> Result<WindowSet> {
    load(reader, None).await
}

async fn load(reader: &mut Reader, only: Option<WindowId>) -> Result<WindowSet> {
    if let Some(id) = only {
        let window: Versioned<Window> = reader.get(id).await?.ok_or_else(|| window_not_found(id))?;
        return Ok(WindowSet::new([(window.value, window.rev)]));
    }
    let query = Query::<Window>::all().order(Window::NAME, Direction::Ascending);
    let mut windows = Vec::new();
    let mut next = None;
    // Bounded by how many windows there may be.
    loop {
        let page = reader
            .list(&query, &PageRequest::new(Some(crate::kernel::MAX_LIMIT), next)?)
            .await?;
        windows.extend(page.items.into_iter().map(|window| (window.value, window.rev)));
        next = page.next;
        if next.is_none() {
            return Ok(WindowSet::new(windows));
        }
    }
}

fn range(filter: &OccurrenceFilter, clock: &dyn Clock) -> Result<(Timestamp, Timestamp)> {
    let from = filter.from.unwrap_or_else(|| clock.now());
    let to = filter
        .to
        .unwrap_or_else(|| from.plus(Duration::from_secs(DEFAULT_RANGE)));
    if to <= from || to.since(from) > Duration::from_secs(MAX_RANGE_SECONDS) {
        let why = format!("later than from, by at most {} days", MAX_RANGE_SECONDS / 86_400);
        return Err(Error::invalid_field("to", why));
    }
    Ok((from, to))
}

fn apply(checked: &Checked, window: &mut Window) {
    let Checked {
        name,
        description,
        enabled,
        kind,
        scope,
        when,
        outside,
        operations,
    } = checked.clone();
    fn put<T>(value: Option<T>, member: &mut T) {
        if let Some(value) = value {
            *member = value;
        }
    }
    put(name, &mut window.name);
    put(description, &mut window.description);
    put(enabled, &mut window.enabled);
    put(kind, &mut window.kind);
    put(scope, &mut window.scope);
    put(when, &mut window.when);
    put(outside, &mut window.outside);
    put(operations, &mut window.operations);
}

/// The members that differ.
fn changed(before: &Window, after: &Window) -> Vec<&'static str> {
    [
        ("name", before.name != after.name),
        ("description", before.description != after.description),
        ("enabled", before.enabled != after.enabled),
        ("kind", before.kind != after.kind),
        ("scope", before.scope != after.scope),
        ("when", before.when != after.when),
        ("outside", before.outside != after.outside),
        ("operations", before.operations != after.operations),
    ]
    .into_iter()
    .filter_map(|(member, differs)| differs.then_some(member))
    .collect()
}

/// Refuses groups and devices that there are not, but for those that the window named before.
async fn check_known(reader: &mut Reader, scope: &WindowScope, before: &WindowScope) -> Result<()> {
    let groups: Vec<_> = scope.groups.difference(&before.groups).copied().collect();
    check_exist::<DeviceGroup>(reader, &groups, "/scope/groups").await?;
    let devices: Vec<_> = scope.devices.difference(&before.devices).copied().collect();
    check_exist::<Device>(reader, &devices, "/scope/devices").await
}

async fn check_exist<T: Entity>(reader: &mut Reader, ids: &[T::Id], pointer: &str) -> Result<()> {
    let found = reader.get_many::<T>(ids).await?;
    let missing = ids.iter().zip(&found).find(|(_, found)| found.is_none());
    let Some((id, _)) = missing else {
        return Ok(());
    };
    let why = format!("there is no {} {id}", <T::Id as EntityId>::ENTITY);
    Err(WINDOW_SCOPE_UNKNOWN.error(why.clone()).with_field(pointer, why))
}

fn view(window: Versioned<Window>, now: Timestamp) -> WindowView {
    let ready = Ready::new(window.value, window.rev);
    let (current_end, next_start) = (ready.times.covers_until(now), ready.times.next_start(now));
    let Ready { window, revision, .. } = ready;
    WindowView {
        id: window.id,
        revision,
        in_words: window.when.describe(),
        name: window.name,
        description: window.description,
        enabled: window.enabled,
        kind: window.kind,
        scope: window.scope,
        when: window.when,
        outside: window.outside,
        operations: window.operations,
        current_end,
        next_start,
        created_at: window.created_at,
        updated_at: window.updated_at,
    }
}

fn window_not_found(id: WindowId) -> Error {
    WINDOW_NOT_FOUND.error(format!("there is no window {id}"))
}

fn name_taken(error: Error) -> Error {
    if error.code() == TAKEN {
        WINDOW_NAME_TAKEN
            .error("another window has this name")
            .with_field("/name", "already taken")
    } else {
        error
    }
}
