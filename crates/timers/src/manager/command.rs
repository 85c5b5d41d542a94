//! What a handle asks of its manager, and what it gets back if that cannot be.

use std::fmt;
use std::time::Duration;

/// One order to a manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimerCommand {
    /// Sets a timer, or replaces the one of this name.
    Set {
        /// The timer's name; not empty.
        name: String,
        /// How long after the command was accepted the timer expires.
        duration: Duration,
    },
    /// Cancels the timer of this name, if there is one.
    Cancel {
        /// The timer's name; not empty.
        name: String,
    },
    /// Cancels all timers.
    CancelAll,
    /// Ends the manager after the commands before this one.
    Shutdown,
}

impl TimerCommand {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Set { name, .. } | Self::Cancel { name } => Some(name),
            Self::CancelAll | Self::Shutdown => None,
        }
    }

    /// # Errors
    /// [`CommandError::EmptyName`].
    pub(super) fn checked(self) -> Result<Self, CommandError> {
        if self.name().is_some_and(str::is_empty) {
            return Err(CommandError::EmptyName(self));
        }
        Ok(self)
    }
}

/// Why a command was not accepted; each has the command, to be sent again or dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// The command buffer has no place: `try_` forms only.
    Full(TimerCommand),
    /// The manager has been shut down, or dropped.
    Closed(TimerCommand),
    /// The name is empty.
    EmptyName(TimerCommand),
}

impl CommandError {
    /// The command that was not accepted.
    pub fn command(&self) -> &TimerCommand {
        match self {
            Self::Full(command) | Self::Closed(command) | Self::EmptyName(command) => command,
        }
    }

    /// The command that was not accepted, to be sent again.
    pub fn into_command(self) -> TimerCommand {
        match self {
            Self::Full(command) | Self::Closed(command) | Self::EmptyName(command) => command,
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Full(_) => "the command buffer of the timer manager is full",
            Self::Closed(_) => "the timer manager is closed",
            Self::EmptyName(_) => "the name of a timer is empty",
        })
    }
}

impl std::error::Error for CommandError {}
