//! Wake-ups inside one process: "something happened to this device or this run, look again".
//!
//! A signal carries nothing and may be lost on a crash: whoever waits reads storage first and polls as well, so that a
//! signal makes things fast and never makes them right.

use std::{collections::HashMap, hash::Hash, sync::Arc, sync::Mutex, time::Duration};

use tokio::sync::watch;

/// Signals by key. Cheap to clone; keys that nobody waits for cost nothing.
#[derive(Debug)]
pub struct Signals<K: Eq + Hash> {
    waiting: Arc<Mutex<HashMap<K, watch::Sender<u64>>>>,
}

impl<K: Eq + Hash> Clone for Signals<K> {
    fn clone(&self) -> Self {
        Self {
            waiting: self.waiting.clone(),
        }
    }
}

impl<K: Eq + Hash> Default for Signals<K> {
    fn default() -> Self {
        Self {
            waiting: Arc::default(),
        }
    }
}

impl<K: Eq + Hash + Copy> Signals<K> {
    /// Wakes everybody who waits for the key.
    pub fn signal(&self, key: K) {
        if let Some(sender) = self.waiting().get(&key) {
            sender.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Begins to wait for a key: signals from now on are not missed.
    pub fn subscribe(&self, key: K) -> Subscription<K> {
        let receiver = self
            .waiting()
            .entry(key)
            .or_insert_with(|| watch::channel(0).0)
            .subscribe();
        Subscription {
            key,
            receiver,
            signals: self.clone(),
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<K, watch::Sender<u64>>> {
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Waits for the signals of one key.
#[derive(Debug)]
pub struct Subscription<K: Eq + Hash + Copy> {
    key: K,
    receiver: watch::Receiver<u64>,
    signals: Signals<K>,
}

impl<K: Eq + Hash + Copy> Subscription<K> {
    /// Returns at the next signal, or after `patience` without one. Signals that came since the last call count.
    pub async fn wait(&mut self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.signalled()).await;
    }

    /// Returns at the next signal. Signals that came since the last call count.
    pub async fn signalled(&mut self) {
        // An error means that the sender is gone, which it is not while this subscription lives.
        let _ = self.receiver.changed().await;
    }
}

impl<K: Eq + Hash + Copy> Drop for Subscription<K> {
    fn drop(&mut self) {
        let mut waiting = self.signals.waiting();
        // Our own receiver still counts.
        if waiting
            .get(&self.key)
            .is_some_and(|sender| sender.receiver_count() <= 1)
        {
            waiting.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_signal_between_two_waits_is_not_missed() {
        let signals = Signals::default();
        let mut subscription = signals.subscribe(1);
        signals.signal(1);
        let began = tokio::time::Instant::now();
        subscription.wait(Duration::from_secs(60)).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        signals.signal(2);
        subscription.wait(Duration::from_secs(60)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(60));
    }

    #[test]
    fn nothing_is_kept_for_keys_that_nobody_waits_for() {
        let signals = Signals::default();
        let (one, other) = (signals.subscribe(1), signals.subscribe(1));
        drop(one);
        assert_eq!(signals.waiting().len(), 1);
        drop(other);
        signals.signal(1);
        assert_eq!(signals.waiting().len(), 0);
    }
}
