//! Work in pieces, on all cores that there are.
//!
//! ```text
//!   cut ──▶ pieces ──▶ work ──▶ results ──▶ use them, in the order of the pieces
//!   (one thread)      (as many as there are cores)      (the caller)
//! ```

use std::{
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use fleet_core::store::{Error, Result};

/// Bytes of a piece; it ends with the line in which it reaches them.
pub(crate) const PIECE: usize = 1024 * 1024;

/// Pieces that are cut ahead.
const AHEAD: usize = 8;

/// Threads that work, at most: more of them would wait for the one that uses what they make.
const WORKERS: usize = 4;

/// A piece, and where to leave what is made of it.
type Order<P, R> = (P, SyncSender<R>);

/// Works on each piece, and hands over what comes of it in their order. Ends early when that fails.
pub(crate) fn in_order<P: Send, R: Send>(
    pieces: impl Iterator<Item = P> + Send,
    work: impl Fn(P) -> R + Sync,
    mut each: impl FnMut(R) -> Result<()>,
) -> Result<()> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get).min(WORKERS);
    let (results, in_order) = sync_channel(AHEAD);
    let (orders, to_do) = sync_channel(AHEAD);
    let to_do = Mutex::new(to_do);
    thread::scope(|scope| {
        scope.spawn(move || cut(pieces, &orders, &results));
        for _ in 0..workers {
            scope.spawn(|| work_on(&to_do, &work));
        }
        // By value: when this fails nobody waits for what is made after it.
        in_order.into_iter().try_for_each(|made: Receiver<R>| {
            let made = made.recv().map_err(|error| Error::Unavailable(Box::new(error)))?;
            each(made)
        })
    })
}

fn cut<P, R>(pieces: impl Iterator<Item = P>, orders: &SyncSender<Order<P, R>>, results: &SyncSender<Receiver<R>>) {
    for piece in pieces {
        let (made, result) = sync_channel(1);
        if orders.send((piece, made)).is_err() || results.send(result).is_err() {
            return;
        }
    }
}

fn work_on<P, R>(to_do: &Mutex<Receiver<Order<P, R>>>, work: &impl Fn(P) -> R) {
    loop {
        let order = to_do.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((piece, made)) = order else {
            return;
        };
        // Whoever waited may have failed meanwhile.
        let _ = made.send(work(piece));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// What is handed over of so many pieces, when using one of them fails.
    #[track_caller]
    fn check(count: usize, fails_at: Option<usize>, expected: &[usize]) {
        let (mut seen, cut) = (Vec::new(), AtomicUsize::new(0));
        let pieces = (0..count).inspect(|_| {
            cut.fetch_add(1, Ordering::Relaxed);
        });
        let result = in_order(
            pieces,
            |piece| piece * 10,
            |made| {
                if Some(made) == fails_at {
                    return Err(Error::Invalid("enough".to_owned()));
                }
                seen.push(made);
                Ok(())
            },
        );
        assert_eq!(result.is_err(), fails_at.is_some());
        assert_eq!(seen, expected);
        let most = expected.len() + 2 * AHEAD + WORKERS + 3;
        assert!(cut.into_inner() <= most, "pieces are cut without end");
    }

    #[test]
    fn results_come_in_the_order_of_their_pieces() {
        check(0, None, &[]);
        check(1, None, &[0]);
        let all: Vec<usize> = (0..1_000).map(|piece| piece * 10).collect();
        check(1_000, None, &all);
    }

    #[test]
    fn a_failure_ends_it_soon() {
        check(1, Some(0), &[]);
        check(1_000_000, Some(30), &[0, 10, 20]);
    }
}
