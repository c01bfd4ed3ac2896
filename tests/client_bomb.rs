//! An object that is small on the wire and large on the disk: the client needs no memory for it.

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::io::Write;
use std::net::TcpListener;
use std::thread;

use raw::{body, bomb};
use support::Sandbox;

/// Memory that client and preprocessor may have each, in KiB, and how large the object is in bytes.
const MEMORY_KIB: u64 = 250 << 10;
const OBJECT_BYTES: u64 = 350 << 20;

#[test]
fn a_client_unpacks_a_large_object_in_little_memory() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let head = b"DONE00000002STAT00000000SERR00000000SOUT00000000".to_vec();
        let object = bomb(usize::try_from(OBJECT_BYTES / 255).unwrap() + 1);
        assert!(object.len() < 2 << 20);
        stream.write_all(&[head, body("DOTO", &object)].concat()).unwrap();
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a;\n");
    let limited = format!("ulimit -v {MEMORY_KIB}; exec \"$0\" gcc -c a.c");
    let run = sandbox
        .command("/bin/sh")
        .args(["-c".as_ref(), limited.as_ref(), sandbox.path("bin/distcc").as_os_str()])
        .hosts(&format!("{host},lzo"))
        .env("DISTCC_FALLBACK", "0")
        .run();
    assert_eq!(run.code(), 0, "{run}");
    let bytes = std::fs::metadata(sandbox.work("a.o")).unwrap().len();
    assert!(bytes > OBJECT_BYTES, "{bytes}");
    server.join().unwrap();
    sandbox.finish([]);
}
