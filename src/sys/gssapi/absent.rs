//! What stands for the library where it is not built in. No value of these types exists.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use super::{ABSENT, GssError, Name, Step};

/// See the build with GSS-API.
#[derive(Debug)]
pub struct Credential(Infallible);
/// See the build with GSS-API.
#[derive(Debug)]
pub struct Initiator(Infallible);
/// See the build with GSS-API.
#[derive(Debug)]
pub struct Acceptor(Infallible);

impl Credential {
    /// Says that there is no GSS-API here.
    pub fn to_accept(_principal: &Name, _replay_cache: &Path) -> Result<Credential, GssError> {
        Err(GssError::new(ABSENT))
    }

    /// Never called.
    pub fn principal(&self) -> Result<String, GssError> {
        match self.0 {}
    }
}

impl Initiator {
    /// Says that there is no GSS-API here.
    pub fn new(_server: &Name) -> Result<Initiator, GssError> {
        Err(GssError::new(ABSENT))
    }

    /// Never called.
    pub fn step(&mut self, _token: Option<&[u8]>) -> Result<Step, GssError> {
        match self.0 {}
    }
}

impl Acceptor {
    /// Never called: there is no credential.
    pub fn new(credential: Arc<Credential>) -> Acceptor {
        match credential.0 {}
    }

    /// Never called.
    pub fn step(&mut self, _token: &[u8]) -> Result<Step, GssError> {
        match self.0 {}
    }

    /// Never called.
    pub fn client(&self) -> Result<String, GssError> {
        match self.0 {}
    }
}
