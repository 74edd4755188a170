//! The part of the runtime's thread team that `loom` explores, without the rest of the runtime and
//! what that depends on, which would all be compiled once more for it. Empty in other builds.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p kinglet-interleavings`

#[cfg(loom)]
#[allow(dead_code, unreachable_pub, reason = "the rest of the team is not here")]
#[path = "../../../runtime/src/team"]
mod team {
    mod region;
    mod sync;
}
