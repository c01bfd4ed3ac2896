//! A tap on the wire: passes everything between clients and one daemon, and notes which version of the protocol
//! each request speaks. What was compiled in pump mode is seen here, whatever programs say of themselves.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A connection that was let through: what the client said first.
const GREETING_BYTES: usize = "DIST00000003".len();

/// A listener in front of a daemon. Ends with the test's process.
pub struct Tap {
    port: u16,
    versions: Arc<Mutex<Vec<u32>>>,
}

impl Tap {
    /// Stands before `127.0.0.1:PORT`.
    pub fn before(daemon: u16) -> Tap {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let versions = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&versions);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let notes = Arc::clone(&notes);
                std::thread::spawn(move || pass(client, daemon, &notes));
            }
        });
        Tap { port, versions }
    }

    /// The word for a host list, in pump mode.
    pub fn pump_host(&self) -> String {
        format!("127.0.0.1:{}/8,lzo,cpp", self.port)
    }

    /// The versions of the protocol that requests since the last call spoke.
    pub fn take_versions(&self) -> Vec<u32> {
        std::mem::take(&mut *self.versions.lock().unwrap())
    }
}

fn pass(mut client: TcpStream, daemon: u16, notes: &Mutex<Vec<u32>>) -> Option<()> {
    let mut greeting = [0; GREETING_BYTES];
    client.read_exact(&mut greeting).ok()?;
    let version = std::str::from_utf8(&greeting[4..]).ok()?;
    notes.lock().unwrap().push(u32::from_str_radix(version, 16).ok()?);
    let mut server = TcpStream::connect(("127.0.0.1", daemon)).ok()?;
    server.write_all(&greeting).ok()?;
    let up = copy(client.try_clone().ok()?, server.try_clone().ok()?);
    copy(server, client).join().ok()?;
    up.join().ok()
}

fn copy(mut from: TcpStream, mut to: TcpStream) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    })
}
