//! Account ids for tests. In moto an account exists as soon as it is used.

use std::sync::atomic::{AtomicU64, Ordering};

/// A 12-digit account id that nothing else in this process uses.
#[must_use]
pub fn fresh() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(400_000_000_001);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}
