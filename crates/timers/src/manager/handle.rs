//! The users' end of a manager.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::TryAcquireError;
use tokio::task;

use super::command::{CommandError, TimerCommand};
use super::events::{TimerEvent, TryRecvError};
use super::shared::Shared;

/// Sends commands to a [`TimerManager`](super::TimerManager) and receives its events.
///
/// Clones send to the same manager; an event is received once, by whichever handle asks. When the last handle is dropped the
/// manager ends. All methods may be called from any thread, and outside of a tokio runtime.
pub struct TimerHandle {
    shared: Arc<Shared>,
}

impl TimerHandle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The manager's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Sets a timer, or replaces the one of this name: of the earlier one no event is received any more.
    ///
    /// The duration counts from when the command is accepted, which is when the call returns or, with a full command
    /// buffer, when there is a place.
    ///
    /// # Errors
    /// [`CommandError::Closed`], [`CommandError::EmptyName`].
    pub async fn set_timer(
        &self,
        name: impl Into<String>,
        duration: Duration,
    ) -> Result<(), CommandError> {
        let name = name.into();
        self.send(TimerCommand::Set { name, duration }).await
    }

    /// [`TimerHandle::set_timer`] without waiting.
    ///
    /// # Errors
    /// [`CommandError::Full`], [`CommandError::Closed`], [`CommandError::EmptyName`].
    pub fn try_set_timer(
        &self,
        name: impl Into<String>,
        duration: Duration,
    ) -> Result<(), CommandError> {
        let name = name.into();
        self.try_send(TimerCommand::Set { name, duration })
    }

    /// Cancels the timer of this name, if there is one: no event of it is received any more, even if it had expired.
    ///
    /// # Errors
    /// [`CommandError::Closed`], [`CommandError::EmptyName`].
    pub async fn cancel_timer(&self, name: impl Into<String>) -> Result<(), CommandError> {
        self.send(TimerCommand::Cancel { name: name.into() }).await
    }

    /// [`TimerHandle::cancel_timer`] without waiting.
    ///
    /// # Errors
    /// [`CommandError::Full`], [`CommandError::Closed`], [`CommandError::EmptyName`].
    pub fn try_cancel_timer(&self, name: impl Into<String>) -> Result<(), CommandError> {
        self.try_send(TimerCommand::Cancel { name: name.into() })
    }

    /// Cancels all timers, as [`TimerHandle::cancel_timer`] does one. Takes the same short time for any number of them.
    ///
    /// # Errors
    /// [`CommandError::Closed`].
    pub async fn cancel_all_timers(&self) -> Result<(), CommandError> {
        self.send(TimerCommand::CancelAll).await
    }

    /// [`TimerHandle::cancel_all_timers`] without waiting.
    ///
    /// # Errors
    /// [`CommandError::Full`], [`CommandError::Closed`].
    pub fn try_cancel_all_timers(&self) -> Result<(), CommandError> {
        self.try_send(TimerCommand::CancelAll)
    }

    /// Ends the manager after the commands before this one. Events of timers that are due by then are still received.
    ///
    /// # Errors
    /// [`CommandError::Closed`] if it was shut down before.
    pub async fn shutdown(&self) -> Result<(), CommandError> {
        self.send(TimerCommand::Shutdown).await
    }

    /// [`TimerHandle::shutdown`] without waiting.
    ///
    /// # Errors
    /// [`CommandError::Full`], [`CommandError::Closed`].
    pub fn try_shutdown(&self) -> Result<(), CommandError> {
        self.try_send(TimerCommand::Shutdown)
    }

    /// Sends a command, such as one that a `try_` form gave back; waits for a place in the command buffer.
    ///
    /// Places are given in the order of the calls. A call that is dropped while it waits has sent nothing.
    ///
    /// # Errors
    /// [`CommandError::Closed`], [`CommandError::EmptyName`].
    pub async fn send(&self, command: TimerCommand) -> Result<(), CommandError> {
        let command = command.checked()?;
        // A sender that always finds a place lets its neighbours run now and then.
        task::consume_budget().await;
        // A place that is free has nobody waiting for it, and is taken without the machinery of waiting.
        if let Ok(place) = self.shared.places.try_acquire() {
            return self.shared.accept(place, command);
        }
        match self.shared.places.acquire().await {
            Ok(place) => self.shared.accept(place, command),
            Err(_closed) => Err(CommandError::Closed(command)),
        }
    }

    /// Sends a command without waiting.
    ///
    /// # Errors
    /// [`CommandError::Full`], [`CommandError::Closed`], [`CommandError::EmptyName`].
    pub fn try_send(&self, command: TimerCommand) -> Result<(), CommandError> {
        let command = command.checked()?;
        match self.shared.places.try_acquire() {
            Ok(place) => self.shared.accept(place, command),
            Err(TryAcquireError::Closed) => Err(CommandError::Closed(command)),
            // A manager that shuts down accepts nothing, whether it has places or not.
            Err(TryAcquireError::NoPermits) if self.is_closed() => {
                Err(CommandError::Closed(command))
            }
            Err(TryAcquireError::NoPermits) => Err(CommandError::Full(command)),
        }
    }

    /// Waits for the next event; None once the manager is closed and all events are received.
    ///
    /// Events come in the order of their deadlines, and equal ones in the order in which they were set, as far as they expired
    /// together. A call that is dropped while it waits has taken nothing.
    pub async fn recv_event(&self) -> Option<TimerEvent> {
        // A receiver with a long backlog lets its neighbours run now and then.
        task::consume_budget().await;
        loop {
            match self.try_recv_event() {
                Ok(event) => return Some(event),
                Err(TryRecvError::Closed) => return None,
                Err(TryRecvError::Empty) => {}
            }
            let mut arrival = pin!(self.shared.arrivals.notified());
            arrival.as_mut().enable();
            // What came before the line above has told nobody.
            match self.try_recv_event() {
                Ok(event) => return Some(event),
                Err(TryRecvError::Closed) => return None,
                Err(TryRecvError::Empty) => arrival.await,
            }
        }
    }

    /// Takes the next event without waiting.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`], [`TryRecvError::Closed`].
    pub fn try_recv_event(&self) -> Result<TimerEvent, TryRecvError> {
        self.shared.take_event()
    }

    /// Waits until there may be an event to take without waiting, or the manager is closed. Takes nothing.
    ///
    /// For bridges to other languages, whose calls can be given up after this has returned: such a caller that does not take
    /// the event then must call [`TimerHandle::tell_next_receiver`].
    pub async fn event_arrives(&self) {
        loop {
            let mut arrival = pin!(self.shared.arrivals.notified());
            arrival.as_mut().enable();
            if self.shared.has_arrivals() {
                return;
            }
            arrival.await;
        }
    }

    /// Has another receiver that waits look for events.
    pub fn tell_next_receiver(&self) {
        self.shared.arrivals.notify_one();
    }

    /// Waits until there may be a place in the command buffer, or the manager is closed. Takes nothing.
    pub async fn place_is_free(&self) {
        drop(self.shared.places.acquire().await);
    }

    /// The number of timers that are set, those included whose event waits to be received.
    pub fn len(&self) -> usize {
        self.shared.state.lock().living.len()
    }

    /// Whether no timer is set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether commands are refused because the manager has been told to shut down, its token is cancelled, or it is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closing()
    }
}

impl Clone for TimerHandle {
    fn clone(&self) -> Self {
        self.shared.add_handle();
        Self::new(Arc::clone(&self.shared))
    }
}

impl Drop for TimerHandle {
    fn drop(&mut self) {
        self.shared.remove_handle();
    }
}

impl std::fmt::Debug for TimerHandle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("TimerHandle")
            .field("name", &self.shared.name)
            .field("timers", &self.len())
            .field("closed", &self.is_closed())
            .finish()
    }
}
