//! Who is told of this process's own commits before whoever asked for them is answered.
//!
//! For what is remembered in memory: the feed tells of every commit, of other servers too, but a moment later; what a server
//! has answered it must not contradict itself. The feed stays the truth: a commit whose outcome nobody waited for is found
//! there.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use crate::store::{Name, Write};

/// Forgets what a commit may have changed.
pub trait CommitObserver: fmt::Debug + Send + Sync {
    /// Whether it is to hear of writes of this kind of document.
    fn watches(&self, kind: Name) -> bool;

    /// These writes were committed, or may have been, where `is_committed` does not say that they were. Called before the commit is
    /// answered; must neither wait nor fail.
    fn written(&self, writes: &[Write], is_committed: bool);
}

/// The observers of a store.
#[derive(Debug, Default)]
pub(super) struct Observers(RwLock<Vec<Arc<dyn CommitObserver>>>);

impl Observers {
    pub(super) fn add(&self, observer: Arc<dyn CommitObserver>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(observer);
    }

    /// To be made before a commit and dropped after it, whatever came of it: also when nobody waits for it any more.
    pub(super) fn announce(&self, writes: &[Write]) -> Announcement {
        let observers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let of = |observer: &Arc<dyn CommitObserver>| {
            let watched = |write: &&Write| {
                !matches!(write, Write::Check { .. } | Write::DropLatest { .. }) && observer.watches(write.key().kind)
            };
            let writes: Vec<_> = writes.iter().filter(watched).cloned().collect();
            (!writes.is_empty()).then(|| (observer.clone(), writes))
        };
        Announcement {
            heard_by: observers.iter().filter_map(of).collect(),
            is_committed: false,
        }
    }
}

/// Tells the observers when it is dropped.
pub(super) struct Announcement {
    heard_by: Vec<(Arc<dyn CommitObserver>, Vec<Write>)>,
    is_committed: bool,
}

impl Announcement {
    /// The commit is known to have been made.
    pub(super) fn committed(mut self) {
        self.is_committed = true;
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        for (observer, writes) in &self.heard_by {
            observer.written(writes, self.is_committed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use uuid::Uuid;

    use super::*;
    use crate::store::{Expect, Key};

    #[derive(Debug, Default)]
    struct Heard(Mutex<Vec<(Key, bool)>>);

    impl CommitObserver for Heard {
        fn watches(&self, kind: Name) -> bool {
            kind == "watched"
        }

        fn written(&self, writes: &[Write], is_committed: bool) {
            let keys = writes.iter().map(|write| (write.key(), is_committed));
            self.0.lock().unwrap().extend(keys);
        }
    }

    #[test]
    fn an_observer_hears_of_its_kinds_once_the_commit_is_over() {
        let (observers, heard) = (Observers::default(), Arc::new(Heard::default()));
        observers.add(heard.clone());
        let key = |kind| Key::new(kind, Uuid::nil());
        let delete = |kind| Write::Delete {
            key: key(kind),
            expect: Expect::Any,
        };
        let check = Write::Check {
            key: key("watched"),
            expect: Expect::Any,
        };
        let announcement = observers.announce(&[delete("other"), check, delete("watched")]);
        assert_eq!(*heard.0.lock().unwrap(), []);
        drop(announcement);
        assert_eq!(*heard.0.lock().unwrap(), [(key("watched"), false)]);
        observers.announce(&[delete("watched")]).committed();
        assert_eq!(heard.0.lock().unwrap()[1..], [(key("watched"), true)]);
    }
}
