//! What whoever started the server has given it as standard input. Decides nothing by it.

use std::os::fd::{AsFd, BorrowedFd};

use crate::sys::net;

/// What the standard input is: an inetd gives the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A connection from a network.
    Network,
    /// A socket of this machine.
    LocalSocket,
    /// A pipe, as from sshd, or whatever the starting shell has.
    Other,
}

impl Input {
    /// Asks the kernel.
    pub(super) fn of_standard_input() -> Input {
        Input::of(std::io::stdin().as_fd())
    }

    /// The same of a connection that was given in another way.
    pub(super) fn of(descriptor: BorrowedFd<'_>) -> Input {
        match net::peer_of(descriptor) {
            Some(Some(_)) => Input::Network,
            Some(None) => Input::LocalSocket,
            None => Input::Other,
        }
    }
}
