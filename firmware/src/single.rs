//! State that one CPU owns, which lets no interrupt come between.
#![expect(unsafe_code, reason = "a static needs Sync, which one CPU has for free")]

use core::cell::RefCell;

/// A value that only code of this guest touches, from its one CPU. Borrowing it twice at once
/// panics, as with any [`RefCell`].
pub struct Single<T>(RefCell<T>);

// SAFETY: the guest has one CPU and lets interrupts in only where it sleeps, which it does without a
// borrow, so no two are concurrent.
unsafe impl<T> Sync for Single<T> {}

impl<T> Single<T> {
    /// Holds `value`.
    pub const fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    /// Lends the value to `use_it`.
    pub fn with<R>(&self, use_it: impl FnOnce(&mut T) -> R) -> R {
        use_it(&mut self.0.borrow_mut())
    }
}
