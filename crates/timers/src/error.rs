//! What can be wrong with a timer.

use std::fmt;
use std::io;

/// Why an interval or a timer of a scope was refused.
#[derive(Debug)]
pub enum TimerError {
    /// The scope has a timer of this name.
    TimerExists(String),
    /// The scope has no timer of this name.
    TimerNotFound(String),
    /// The scope is not attached.
    NotAttached,
    /// The name is empty or the interval zero; the text says which.
    InvalidRegistration(&'static str),
    /// The driver was not running, and the system refused to start its thread.
    Driver(io::Error),
}

impl fmt::Display for TimerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimerExists(name) => write!(formatter, "there is a timer {name:?} already"),
            Self::TimerNotFound(name) => write!(formatter, "there is no timer {name:?}"),
            Self::NotAttached => formatter.write_str("the scope is not attached"),
            Self::InvalidRegistration(reason) => formatter.write_str(reason),
            Self::Driver(_) => formatter.write_str("the driver of the timers could not be started"),
        }
    }
}

impl std::error::Error for TimerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Driver(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for TimerError {
    fn from(error: io::Error) -> Self {
        Self::Driver(error)
    }
}
