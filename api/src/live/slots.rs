//! How many streams one session may have.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    codes,
    problem::{ApiError, ApiResult},
};

/// Counts streams by session (or key, or device), and in all.
pub struct Slots<K: Eq + Hash> {
    taken: Arc<Mutex<HashMap<K, usize>>>,
    each: usize,
    all: usize,
}

/// One stream's place; given back when dropped.
pub struct Slot<K: Eq + Hash> {
    taken: Arc<Mutex<HashMap<K, usize>>>,
    key: K,
}

impl<K: Eq + Hash + Clone> Slots<K> {
    /// At most `each` streams for one key and `all` together.
    pub fn new(each: usize, all: usize) -> Self {
        Self {
            taken: Arc::default(),
            each,
            all,
        }
    }

    /// Takes a place, or refuses: too many for this key, or too many in all.
    pub fn take(&self, key: K) -> ApiResult<Slot<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.values().sum::<usize>() >= self.all {
            return Err(ApiError::new(
                codes::OVERLOADED,
                "the server has as many streams as it serves at once",
            ));
        }
        let own = taken.entry(key.clone()).or_default();
        if *own >= self.each {
            return Err(ApiError::new(
                codes::TOO_MANY_STREAMS,
                format!("at most {} streams at once; share one between tabs", self.each),
            ));
        }
        *own += 1;
        Ok(Slot {
            taken: self.taken.clone(),
            key,
        })
    }
}

impl<K: Eq + Hash> Drop for Slot<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.key) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

impl<K: Eq + Hash> fmt::Debug for Slots<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slots({} each, {} in all)", self.each, self.all)
    }
}

impl<K: Eq + Hash> fmt::Debug for Slot<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let slots = Slots::new(2, 3);
        let code = |key: &'static str| slots.take(key).map_err(|error| error.code());
        let first = slots.take("a").unwrap();
        let _second = slots.take("a").unwrap();
        assert_eq!(code("a").unwrap_err(), "live.too_many_streams");
        let _third = slots.take("b").unwrap();
        assert_eq!(code("b").unwrap_err(), "server.overloaded");
        drop(first);
        assert!(code("a").is_ok());
    }
}
