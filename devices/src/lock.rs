use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, whoever died holding the lock: what devices guard so is stale at worst, never unsound.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
