//! What the team synchronizes with: the standard atomics, or those of `loom`, which runs its tests
//! through every interleaving.

#[cfg(not(loom))]
pub(super) use super::wait::Wait;
#[cfg(loom)]
pub(super) use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};
#[cfg(not(loom))]
pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// The standard cell with the methods of loom's.
#[cfg(not(loom))]
pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(super) fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    pub(super) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    pub(super) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// A wait that lets the other threads of a model go on, and is long after two polls.
#[cfg(loom)]
pub(super) struct Wait(u32);

#[cfg(loom)]
impl Wait {
    pub(super) fn new() -> Self {
        Self(0)
    }

    pub(super) fn pause(&mut self) {
        self.0 += 1;
        loom::thread::yield_now();
    }

    pub(super) fn is_longer_than(&self, _: std::time::Duration) -> bool {
        self.0 >= 2
    }
}
