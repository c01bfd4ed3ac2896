//! An include server and a server that do what a test says. They know the protocols from the crate's own encoders,
//! which have tests of their own.
#![allow(dead_code, reason = "each test program uses a part of this")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use distcc::protocol::include_query::{self, Answer, OldQuestion, Piece, Question};
use distcc::protocol::limits::RequestLimits;
use distcc::protocol::lzo;
use distcc::protocol::request::{BodyKind, RequestDecoder, RequestEvent};
use distcc::protocol::{Version, request};
use distcc::sys::{net, temp};

use crate::support::{Sandbox, tree_of};

/// Which languages an include server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// That between two of ours, and 3.4's.
    Direct,
    /// 3.4's only.
    Old,
}

/// What it says.
#[derive(Clone, Debug)]
pub enum Says {
    /// Every file of the working directory, below the real path, and the system directories.
    AllFiles,
    /// All but those whose name ends so.
    AllBut(&'static str),
    /// It cannot tell, and why.
    Refuses(&'static str),
    /// It hangs up.
    HangsUp,
    /// A file in its store at a place that does not exist.
    Lies,
}

/// An include server. It ends with the test's process.
pub struct FakeIncludeServer {
    pub socket: PathBuf,
    /// Questions in the direct language, in order.
    pub questions: Arc<Mutex<Vec<Question>>>,
    /// The number of questions in 3.4's.
    pub old_questions: Arc<Mutex<u32>>,
}

impl FakeIncludeServer {
    pub fn start(sandbox: &Sandbox, language: Language, says: Says) -> FakeIncludeServer {
        let directory = sandbox.path("include-server");
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let server = FakeIncludeServer {
            socket: directory.join("socket"),
            questions: Arc::default(),
            old_questions: Arc::default(),
        };
        let work = sandbox.work("");
        if language == Language::Direct {
            let listener = UnixListener::bind(directory.join("socket.direct")).unwrap();
            let (work, says, questions) = (work.clone(), says.clone(), server.questions.clone());
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    answer_directly(stream, &work, &says, &questions);
                }
            });
        }
        let listener = UnixListener::bind(&server.socket).unwrap();
        let count = server.old_questions.clone();
        thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                *count.lock().unwrap() += 1;
                answer_in_old_language(
                    stream,
                    &work,
                    &says,
                    &directory.with_file_name(format!("mirror-{number}")),
                );
            }
        });
        server
    }

    pub fn counter(&self) -> String {
        fs::read_to_string(self.socket.with_file_name("discrepancy_counter")).unwrap_or_default()
    }
}

/// The compiler's own directories on the machines of these tests.
const SYSTEM_DIRECTORIES: [&str; 2] = ["/usr/include", "/usr/lib/gcc"];

fn system_link(directory: &str) -> String {
    "../".repeat(20 + directory.matches('/').count()) + &directory[1..]
}

fn files_of(work: &Path, says: &Says) -> Vec<PathBuf> {
    let work = fs::canonicalize(work).unwrap();
    let names = tree_of(&work).names();
    let files = names.iter().map(|name| work.join(name)).filter(|path| path.is_file());
    match says {
        Says::AllBut(suffix) => {
            files.filter(|path| !path.as_os_str().as_bytes().ends_with(suffix.as_bytes())).collect()
        }
        _ => files.collect(),
    }
}

fn read_question<T>(stream: &mut UnixStream, decode: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        if let Some(question) = decode(&bytes) {
            return Some(question);
        }
    }
}

fn answer_directly(mut stream: UnixStream, work: &Path, says: &Says, questions: &Mutex<Vec<Question>>) {
    let Some(question) = read_question(&mut stream, |bytes| Question::decode(bytes).unwrap()) else { return };
    questions.lock().unwrap().push(question);
    let mut out = Vec::new();
    let mut store = temp::anonymous_growing("store").unwrap();
    match says {
        Says::HangsUp => return,
        Says::Refuses(why) => {
            include_query::encode_refusal(why, &mut out);
            stream.write_all(&out).unwrap();
            return;
        }
        Says::AllFiles | Says::AllBut(_) | Says::Lies => {
            let mut answer = Answer::default();
            let (mut body_at, mut before) = (0, 0);
            for path in files_of(work, says) {
                let body = lzo::Compressor::new().compress(&fs::read(&path).unwrap());
                store.write_all(&body).unwrap();
                let body_bytes = body.len() as u32;
                request::encode_file_header(path.as_os_str().as_bytes(), body_bytes, &mut answer.heads);
                let head_bytes = (answer.heads.len() - before) as u32;
                before = answer.heads.len();
                let at = if matches!(says, Says::Lies) { body_at + 4096 } else { body_at };
                answer.pieces.push(Piece { head_bytes, body_at: at, body_bytes });
                answer.entries += 1;
                body_at += u64::from(body_bytes);
            }
            for directory in SYSTEM_DIRECTORIES {
                request::encode_link(
                    directory.as_bytes(),
                    system_link(directory).as_bytes(),
                    &mut answer.heads,
                );
                answer.entries += 1;
            }
            let head_bytes = (answer.heads.len() - before) as u32;
            answer.pieces.push(Piece { head_bytes, body_at: 0, body_bytes: 0 });
            answer.encode(&mut out);
        }
    }
    let store = temp::reopened_for_reading(&store).unwrap();
    let count = net::send_with_descriptor(stream.as_fd(), &out, store.as_fd()).unwrap();
    stream.write_all(&out[count..]).unwrap();
}

fn answer_in_old_language(mut stream: UnixStream, work: &Path, says: &Says, directory: &Path) {
    let question = read_question(&mut stream, |bytes| OldQuestion::decode(bytes).unwrap());
    if question.is_none() || matches!(says, Says::HangsUp) {
        return;
    }
    let paths = match says {
        Says::Refuses(_) => Vec::new(),
        _ => mirror(work, says, directory),
    };
    let paths: Vec<Vec<u8>> = paths.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect();
    let mut out = Vec::new();
    include_query::encode_old_answer(&paths, &mut out);
    stream.write_all(&out).unwrap();
}

/// A mirror of a directory as 3.4's include server makes it; its paths.
pub fn mirror(work: &Path, says: &Says, directory: &Path) -> Vec<PathBuf> {
    let root = directory;
    assert_eq!(root.components().count(), 4, "{}: a mirror's root has three components", root.display());
    let _ = fs::remove_dir_all(root);
    let below = |path: &Path| root.join(path.strip_prefix("/").unwrap());
    let mut paths = Vec::new();
    for path in files_of(work, says) {
        let mut mirrored = below(&path).into_os_string();
        mirrored.push(".lzo");
        let mirrored = PathBuf::from(mirrored);
        fs::create_dir_all(mirrored.parent().unwrap()).unwrap();
        fs::write(&mirrored, lzo::Compressor::new().compress(&fs::read(&path).unwrap())).unwrap();
        paths.push(mirrored);
    }
    for system in SYSTEM_DIRECTORIES {
        let link = below(Path::new(system));
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(system_link(system), &link).unwrap();
        paths.push(link);
    }
    let forced = below(&fs::canonicalize(work).unwrap()).join("forcing_technique_271828");
    File::create(&forced).unwrap();
    paths.push(forced);
    paths
}

/// A request as a server gets it.
#[derive(Clone, Debug, Default)]
pub struct Received {
    pub version: u32,
    pub directory: Vec<u8>,
    pub argv: Vec<String>,
    /// Names and contents of the files, links with an arrow.
    pub entries: Vec<(String, Vec<u8>)>,
}

impl Received {
    pub fn entry(&self, name: &str) -> Option<&[u8]> {
        self.entries.iter().find(|entry| entry.0 == name).map(|entry| entry.1.as_slice())
    }
}

/// A server with canned replies: what `reply` makes of a request is sent, and the connection closed.
pub struct FakeServer {
    port: u16,
    pub received: Arc<Mutex<Vec<Received>>>,
}

impl FakeServer {
    pub fn start(reply: impl Fn(&Received) -> Vec<u8> + Send + 'static) -> FakeServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = FakeServer { port: listener.local_addr().unwrap().port(), received: Arc::default() };
        let received = server.received.clone();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let Some(request) = receive(&mut stream) else { continue };
                let answer = reply(&request);
                received.lock().unwrap().push(request);
                let _ = stream.write_all(&answer);
            }
        });
        server
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{},lzo,cpp", self.port)
    }

    pub fn versions(&self) -> Vec<u32> {
        self.received.lock().unwrap().iter().map(|request| request.version).collect()
    }
}

fn receive(stream: &mut impl Read) -> Option<Received> {
    let mut decoder = RequestDecoder::new(RequestLimits::default());
    let mut request = Received::default();
    let mut bytes = Vec::new();
    let mut body = Vec::new();
    loop {
        let mut buffer = [0; 65536];
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        loop {
            let (used, event) = decoder.next(&bytes).unwrap();
            let nothing = used == 0 && event.is_none();
            match event {
                Some(RequestEvent::Version(version)) => request.version = version.number(),
                Some(RequestEvent::Directory(directory)) => request.directory = directory,
                Some(RequestEvent::Arguments(argv)) => {
                    request.argv =
                        argv.into_iter().map(|word| String::from_utf8_lossy(&word).into_owned()).collect();
                }
                Some(RequestEvent::Link { name, target }) => {
                    let name = format!("{} ->", String::from_utf8_lossy(&name));
                    request.entries.push((name, target));
                }
                Some(RequestEvent::BodyStart { kind, .. }) => {
                    body.clear();
                    let name = match kind {
                        BodyKind::Source => "source".into(),
                        BodyKind::File { name } => String::from_utf8_lossy(&name).into_owned(),
                    };
                    request.entries.push((name, Vec::new()));
                }
                Some(RequestEvent::BodyPart(part)) => body.extend_from_slice(part),
                Some(RequestEvent::BodyEnd) if !body.is_empty() => {
                    request.entries.last_mut().unwrap().1 = lzo::decompress(&body, 1 << 30).unwrap();
                }
                Some(RequestEvent::End) => return Some(request),
                _ => {}
            }
            bytes.drain(..used);
            if nothing {
                break;
            }
        }
    }
}

/// A reply of a server: status, standard error, object, and if there is one the dependency file.
pub fn reply(version: u32, status: u32, stderr: &str, object: &str, dependencies: Option<&str>) -> Vec<u8> {
    let mut out = format!("DONE{version:08x}STAT{status:08x}").into_bytes();
    let mut body = |token: &str, text: &str| {
        let packed = if text.is_empty() { Vec::new() } else { lzo::store(text.as_bytes()) };
        out.extend(format!("{token}{:08x}", packed.len()).into_bytes());
        out.extend(packed);
    };
    body("SERR", stderr);
    body("SOUT", "");
    body("DOTO", object);
    if let Some(text) = dependencies {
        body("DOTD", text);
    }
    assert!(Version::from_wire(version).is_some());
    out
}
