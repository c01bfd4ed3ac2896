//! The system's GSS-API library, through the ten functions of RFC 2744 that a handshake needs. The crates there are bring a
//! generator of bindings, and with it libclang, to every build; these signatures have not changed since the year 2000.

use std::ffi::{c_int, c_void};
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use super::{GssError, Name, Step};

type Status = u32;

/// `gss_buffer_desc` (RFC 2744, 3.2): bytes, ours or the library's.
#[repr(C)]
struct Buffer {
    length: usize,
    value: *mut c_void,
}

/// `gss_OID_desc` (RFC 2744, 3.3).
#[repr(C)]
struct Oid {
    length: u32,
    elements: *mut c_void,
}

type Handle = *mut c_void;

// SAFETY: signatures and statics are those of RFC 2744, appendix A, and of MIT's gssapi.h.
#[link(name = "gssapi_krb5")]
unsafe extern "C" {
    static GSS_C_NT_USER_NAME: *mut Oid;
    static GSS_C_NT_HOSTBASED_SERVICE: *mut Oid;

    fn gss_import_name(minor: *mut Status, text: *const Buffer, kind: *mut Oid, name: *mut Handle) -> Status;
    fn gss_display_name(minor: *mut Status, name: Handle, text: *mut Buffer, kind: *mut *mut Oid) -> Status;
    fn gss_release_name(minor: *mut Status, name: *mut Handle) -> Status;
    fn gss_acquire_cred(
        minor: *mut Status,
        name: Handle,
        seconds: u32,
        mechanisms: *mut c_void,
        usage: c_int,
        credential: *mut Handle,
        actual_mechanisms: *mut *mut c_void,
        actual_seconds: *mut u32,
    ) -> Status;
    fn gss_inquire_cred(
        minor: *mut Status,
        credential: Handle,
        name: *mut Handle,
        seconds: *mut u32,
        usage: *mut c_int,
        mechanisms: *mut *mut c_void,
    ) -> Status;
    fn gss_release_cred(minor: *mut Status, credential: *mut Handle) -> Status;
    fn gss_init_sec_context(
        minor: *mut Status,
        credential: Handle,
        context: *mut Handle,
        target: Handle,
        mechanism: *mut Oid,
        flags: u32,
        seconds: u32,
        bindings: *mut c_void,
        input: *const Buffer,
        actual_mechanism: *mut *mut Oid,
        output: *mut Buffer,
        granted: *mut u32,
        actual_seconds: *mut u32,
    ) -> Status;
    fn gss_accept_sec_context(
        minor: *mut Status,
        context: *mut Handle,
        credential: Handle,
        input: *const Buffer,
        bindings: *mut c_void,
        client: *mut Handle,
        mechanism: *mut *mut Oid,
        output: *mut Buffer,
        granted: *mut u32,
        seconds: *mut u32,
        delegated: *mut Handle,
    ) -> Status;
    fn gss_delete_sec_context(minor: *mut Status, context: *mut Handle, token: *mut Buffer) -> Status;
    fn gss_release_buffer(minor: *mut Status, buffer: *mut Buffer) -> Status;
    fn gss_display_status(
        minor: *mut Status,
        status: Status,
        kind: c_int,
        mechanism: *mut Oid,
        more: *mut u32,
        text: *mut Buffer,
    ) -> Status;
}

const COMPLETE: Status = 0;
const CONTINUE_NEEDED: Status = 1;
/// The bits of a status that say that a call failed (RFC 2744, 3.9.1); the others are information.
const FAILURES: Status = 0xffff_0000;

const USAGE_ACCEPT: c_int = 2;
/// The time a credential or context is to be valid: as long as it may.
const AS_LONG_AS_MAY_BE: u32 = 0;
const INDEFINITE: u32 = u32::MAX;

const MUTUAL: u32 = 2;
const REPLAY: u32 = 4;
const SEQUENCE: u32 = 8;
const ANONYMOUS: u32 = 64;
/// What both sides ask for, and insist on, as 3.4 does: the server proves itself, and no token can be used again.
const WANTED: u32 = MUTUAL | REPLAY | SEQUENCE;

/// How a status is displayed: the general one, and the mechanism's own.
const GENERAL: c_int = 1;
const OF_MECHANISM: c_int = 2;
/// Parts of a message: more are a loop in the library.
const MESSAGES_MAX: usize = 8;

impl Buffer {
    const EMPTY: Buffer = Buffer { length: 0, value: ptr::null_mut() };

    /// A view of bytes that the library only reads.
    fn of(bytes: &[u8]) -> Buffer {
        Buffer { length: bytes.len(), value: bytes.as_ptr().cast_mut().cast() }
    }

    /// Copies and releases what the library made.
    fn take(mut self) -> Vec<u8> {
        if self.value.is_null() {
            return Vec::new();
        }
        // SAFETY: the library gave a pointer to so many bytes, which are released once, here.
        unsafe {
            let bytes = std::slice::from_raw_parts(self.value.cast::<u8>(), self.length).to_vec();
            gss_release_buffer(&mut 0, &mut self);
            bytes
        }
    }
}

/// What the library says of a status, or an empty text.
fn text_of(status: Status, kind: c_int) -> String {
    let (mut parts, mut more) = (Vec::new(), 0);
    for _ in 0..MESSAGES_MAX {
        let mut text = Buffer::EMPTY;
        // SAFETY: all out-parameters are writable; no mechanism means the default one.
        let result =
            unsafe { gss_display_status(&mut 0, status, kind, ptr::null_mut(), &mut more, &mut text) };
        if result != COMPLETE {
            break;
        }
        parts.push(String::from_utf8_lossy(&text.take()).into_owned());
        if more == 0 {
            break;
        }
    }
    parts.join(", ")
}

/// An error if the status is one: `what` was attempted.
fn check(what: &str, major: Status, minor: Status) -> Result<Status, GssError> {
    if major & FAILURES == 0 {
        return Ok(major);
    }
    let (general, own) = (text_of(major, GENERAL), text_of(minor, OF_MECHANISM));
    // The general text of most failures only says that the other one follows.
    let text = if minor == 0 || own.is_empty() { general } else { own };
    Err(GssError::new(format!("{what}: {text}")))
}

/// A name in the library's form.
#[derive(Debug)]
struct Imported(Handle);

impl Imported {
    fn new(name: &Name) -> Result<Imported, GssError> {
        let (mut minor, mut handle) = (0, ptr::null_mut());
        let text = Buffer::of(name.text().as_bytes());
        // SAFETY: the statics are set by the library before main; the buffer outlives the call, and the handle is ours.
        let major = unsafe {
            let kind = match name {
                Name::Service(_) => GSS_C_NT_HOSTBASED_SERVICE,
                Name::User(_) => GSS_C_NT_USER_NAME,
            };
            gss_import_name(&mut minor, &text, kind, &mut handle)
        };
        check(&format!("the name {}", name.text()), major, minor)?;
        Ok(Imported(handle))
    }

    fn text(&self) -> Result<String, GssError> {
        let (mut minor, mut text) = (0, Buffer::EMPTY);
        // SAFETY: the name is valid; the kind of name is not asked for.
        let major = unsafe { gss_display_name(&mut minor, self.0, &mut text, ptr::null_mut()) };
        check("a principal's name", major, minor)?;
        String::from_utf8(text.take()).map_err(|_| GssError::new("a principal's name is not UTF-8"))
    }
}

impl Drop for Imported {
    fn drop(&mut self) {
        // SAFETY: the handle is ours, and released once.
        unsafe { gss_release_name(&mut 0, &mut self.0) };
    }
}

/// A context on its way, or established.
#[derive(Debug)]
struct Context(Handle);

impl Drop for Context {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the handle is ours, and deleted once; no token for the other side is wanted.
            unsafe { gss_delete_sec_context(&mut 0, &mut self.0, ptr::null_mut()) };
        }
    }
}

/// What this server proves itself with.
#[derive(Debug)]
pub struct Credential(Handle);

// SAFETY: a credential is only read after it was acquired, and libraries with threads lock what they keep in it
// (MIT's and Heimdal's documentation).
unsafe impl Send for Credential {}
// SAFETY: see above.
unsafe impl Sync for Credential {}

impl Credential {
    /// The keys of a principal, with which clients are accepted (from the keytab). What was accepted is kept in a file in
    /// the directory `replay_cache`, so that nobody can use it again. Call it while there is one thread.
    pub fn to_accept(principal: &Name, replay_cache: &Path) -> Result<Credential, GssError> {
        // SAFETY: one thread, so nobody else reads the environment. MIT's library puts the file where this says.
        unsafe { std::env::set_var("KRB5RCACHEDIR", replay_cache) };
        let name = Imported::new(principal)?;
        let (mut minor, mut handle) = (0, ptr::null_mut());
        // SAFETY: the name is valid and the handle ours; null pointers ask for defaults and for nothing more.
        let major = unsafe {
            gss_acquire_cred(
                &mut minor,
                name.0,
                INDEFINITE,
                ptr::null_mut(),
                USAGE_ACCEPT,
                &mut handle,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        check(&format!("the keys of {}", principal.text()), major, minor)?;
        Ok(Credential(handle))
    }

    /// Its principal, with its realm.
    pub fn principal(&self) -> Result<String, GssError> {
        let (mut minor, mut name) = (0, ptr::null_mut());
        // SAFETY: the credential is valid, the name's handle ours; nothing else is asked for.
        let major = unsafe {
            gss_inquire_cred(&mut minor, self.0, &mut name, ptr::null_mut(), ptr::null_mut(), ptr::null_mut())
        };
        check("the server's own principal", major, minor)?;
        Imported(name).text()
    }
}

impl Drop for Credential {
    fn drop(&mut self) {
        // SAFETY: the handle is ours, and released once.
        unsafe { gss_release_cred(&mut 0, &mut self.0) };
    }
}

/// The client's side of a handshake.
#[derive(Debug)]
pub struct Initiator {
    server: Imported,
    context: Context,
}

impl Initiator {
    /// Prepares to speak to the server of this name, with the user's own tickets.
    pub fn new(server: &Name) -> Result<Initiator, GssError> {
        Ok(Initiator { server: Imported::new(server)?, context: Context(ptr::null_mut()) })
    }

    /// Takes the server's token, if there is one, and says what is next. May ask a key distribution centre.
    pub fn step(&mut self, token: Option<&[u8]>) -> Result<Step, GssError> {
        let input = token.map_or(Buffer::EMPTY, Buffer::of);
        let (mut minor, mut output, mut granted) = (0, Buffer::EMPTY, 0);
        // SAFETY: context, name and buffers are valid for the call; null pointers ask for defaults.
        let major = unsafe {
            gss_init_sec_context(
                &mut minor,
                ptr::null_mut(),
                &mut self.context.0,
                self.server.0,
                ptr::null_mut(),
                WANTED,
                AS_LONG_AS_MAY_BE,
                ptr::null_mut(),
                &input,
                ptr::null_mut(),
                &mut output,
                &mut granted,
                ptr::null_mut(),
            )
        };
        step("authenticate", major, minor, output, granted)
    }
}

/// The server's side of a handshake.
#[derive(Debug)]
pub struct Acceptor {
    credential: Arc<Credential>,
    context: Context,
    client: Option<Imported>,
}

// SAFETY: context and name belong to this value alone, and the library ties neither to a thread.
unsafe impl Send for Acceptor {}

impl Acceptor {
    /// Prepares to accept one client.
    pub fn new(credential: Arc<Credential>) -> Acceptor {
        Acceptor { credential, context: Context(ptr::null_mut()), client: None }
    }

    /// Takes the client's token and says what is next.
    pub fn step(&mut self, token: &[u8]) -> Result<Step, GssError> {
        let input = Buffer::of(token);
        let (mut minor, mut output, mut granted, mut client) = (0, Buffer::EMPTY, 0, ptr::null_mut());
        // SAFETY: context, credential and buffers are valid for the call; null pointers ask for nothing.
        let major = unsafe {
            gss_accept_sec_context(
                &mut minor,
                &mut self.context.0,
                self.credential.0,
                &input,
                ptr::null_mut(),
                &mut client,
                ptr::null_mut(),
                &mut output,
                &mut granted,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        if !client.is_null() {
            self.client = Some(Imported(client));
        }
        step("authenticate the client", major, minor, output, granted)
    }

    /// Who the client is, with its realm; only after a step that completed.
    pub fn client(&self) -> Result<String, GssError> {
        self.client.as_ref().ok_or_else(|| GssError::new("the client has no name"))?.text()
    }
}

fn step(what: &str, major: Status, minor: Status, output: Buffer, granted: u32) -> Result<Step, GssError> {
    let token = output.take();
    let major = check(what, major, minor)?;
    let is_complete = major & CONTINUE_NEEDED == 0;
    if is_complete && granted & WANTED != WANTED {
        let missing = [
            (MUTUAL, "mutual authentication"),
            (REPLAY, "detection of replays"),
            (SEQUENCE, "detection of sequence"),
        ];
        let missing = missing.into_iter().find(|(flag, _)| granted & flag == 0).map_or("", |(_, name)| name);
        return Err(GssError::new(format!("{what}: the other side offers no {missing}")));
    }
    if is_complete && granted & ANONYMOUS != 0 {
        return Err(GssError::new(format!("{what}: the other side is anonymous")));
    }
    Ok(Step { token: (!token.is_empty()).then_some(token), is_complete })
}
