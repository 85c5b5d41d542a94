//! What the system and the processor must be asked for without a safe crate in between.

#[cfg(all(feature = "driver", not(loom)))]
pub(crate) mod fork;
#[cfg(all(feature = "driver", not(loom)))]
pub(crate) mod leaked;
pub(crate) mod prefetch;
