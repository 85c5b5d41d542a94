//! What the operating system must be asked for without a safe crate in between.

pub(crate) mod fork;
pub(crate) mod leaked;
pub(crate) mod prefetch;
