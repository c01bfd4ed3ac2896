//! A pump job on a machine without namespaces: the client's files lie below a private directory, the compiler gets
//! its name in front of every path, and the results are cleaned of it (`compiler_args::Unpacked`).
//!
//! Knows where things lie; what becomes of words and results it leaves to others.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::compiler_args::{PathMaps, Unpacked};
use crate::daemon::file_set::{Buffers, Links};
use crate::daemon::job::{DIRECTORY_PREFIX, Streams, Workshop, cannot_execute};
use crate::daemon::pump_job::{Harvest, Outputs, PumpJob};
use crate::daemon::refusal::Refusal;
use crate::daemon::surroundings;
use crate::exit_code::ExitCode;
use crate::sys::child::{Child, Command, Environment, Group, Signal};
use crate::sys::job_root::JobRoot;
use crate::sys::net::{self, Ready};
use crate::sys::process::FileIdentity;
use crate::sys::temp::TempDir;

/// The directory that stands for the client's root, in the job's private one.
const ROOT: &str = "root";
/// Names beside it.
const OBJECT: &str = "distccd.o";
const DEPENDENCIES: &str = "distccd.d";
/// What is read of a compiler's predefined macros, in bytes; there are some hundreds.
const MACROS_BYTES_MAX: usize = 1 << 20;
/// How long a compiler may take to name them; it takes some milliseconds.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Compilers remembered; a machine has a dozen.
const COMPILERS_MAX: usize = 256;

/// What compilers can do about names, found out once for each.
#[derive(Debug, Default)]
pub struct KnownMaps(Mutex<HashMap<(PathBuf, FileIdentity), PathMaps>>);

impl KnownMaps {
    fn of(&self, program: &Path, environment: &Environment) -> PathMaps {
        let Some(identity) = FileIdentity::of(program) else { return PathMaps::Unknown };
        let key = (program.to_path_buf(), identity);
        if let Some(maps) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return *maps;
        }
        let macros = predefined_macros(program, environment).unwrap_or_default();
        let maps = PathMaps::of_macros(&macros);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= COMPILERS_MAX {
            known.clear();
        }
        known.insert(key, maps);
        maps
    }
}

/// Asks a compiler. Its status is not waited for: the loop collects it, and an answer that is none says enough. What
/// takes longer than [`ANSWER_TIME_MAX`] is ended.
fn predefined_macros(program: &Path, environment: &Environment) -> io::Result<Vec<u8>> {
    let argv = [
        program.as_os_str(),
        "-E".as_ref(),
        "-dM".as_ref(),
        "-x".as_ref(),
        "c".as_ref(),
        "/dev/null".as_ref(),
    ];
    let argv: Vec<OsString> = argv.map(OsStr::to_os_string).to_vec();
    let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let (mut reader, writer) = io::pipe()?;
    let child = Command {
        program,
        argv: &argv,
        environment,
        directory: None,
        stdio: [Some(null.as_fd()), Some(writer.as_fd()), Some(null.as_fd())],
        group: Group::Own,
        walls: None,
    }
    .spawn()?;
    drop(writer);
    let give_up = Instant::now() + ANSWER_TIME_MAX;
    let mut macros = Vec::new();
    let mut piece = [0; 16 << 10];
    while macros.len() < MACROS_BYTES_MAX {
        let has_come = !net::poll(&[(reader.as_fd(), Ready::Readable)], Some(give_up))?.is_empty();
        let count = if has_come { reader.read(&mut piece)? } else { 0 };
        if count == 0 {
            break;
        }
        macros.extend_from_slice(&piece[..count]);
    }
    child.signal(Signal::Kill);
    Ok(macros)
}

/// The name that has to go from the results of a job in this private directory.
pub(super) fn root_of(directory: &TempDir) -> Vec<u8> {
    directory.path().join(ROOT).into_os_string().into_encoded_bytes()
}

/// Unpacks a job's files below a private directory and starts its compiler there.
pub(super) fn launch(
    job: &PumpJob,
    workshop: &Workshop,
    buffers: &mut Buffers,
) -> Result<(Child, Streams, Harvest), Refusal> {
    let compile = &job.command.compile;
    let no_room = |error: io::Error| {
        let text = format!("make a temporary directory on the server: {error} (see TMPDIR and its disk)");
        Refusal::new(ExitCode::IoError, text)
    };
    let directory =
        TempDir::create(&workshop.temporary, DIRECTORY_PREFIX, workshop.save_temps).map_err(no_room)?;
    let root = directory.path().join(ROOT);
    fs::create_dir(&root).map_err(no_room)?;
    let tree = JobRoot::of_directory(&root).map_err(no_room)?;
    let share = job.fill(&tree, None, Links::Relative, workshop, buffers)?;

    let inside = |path: &OsStr| {
        let mut made = root.clone().into_os_string();
        made.push(path);
        made
    };
    let program = &job.command.program.path;
    let base = job.base_environment(workshop);
    let (object, dependencies) = (directory.path().join(OBJECT), directory.path().join(DEPENDENCIES));
    let argv = compile.pump_command(&Unpacked {
        root: root.as_os_str(),
        object: object.as_os_str(),
        dependencies: dependencies.as_os_str(),
        maps: workshop.path_maps.of(program, base),
        brought: &|path| fs::symlink_metadata(inside(path)).is_ok(),
    });
    let argv = argv.map_err(|refusal| Refusal::new(refusal.code, refusal.to_string()))?;
    let outside = workshop.sandbox.outside(&workshop.exposures.of(program), program, directory.path())?;
    let streams = Streams::open()?;
    let temporary = directory.path().as_os_str();
    let at = inside(job.directory.as_os_str());
    // Where it writes what nobody names a place for. The client's links are followed as they lead, here.
    let leads_inside = fs::canonicalize(&root)
        .and_then(|root| fs::canonicalize(&at).map(|at| at.starts_with(root)))
        .unwrap_or(false);
    if !leads_inside {
        let text =
            format!("bad request: the working directory {} leads out of the files", job.directory.display());
        return Err(Refusal::new(ExitCode::ProtocolError, text));
    }
    let mut environment = surroundings::environment(base, job.variables.as_ref(), &at, temporary);
    if let Some((_, sent)) = job.variables.iter().flatten().find(|(name, _)| *name == "PWD") {
        environment.set("PWD", &inside(sent));
    }
    let child = Command {
        program,
        argv: &argv,
        environment: &environment,
        directory: Some(Path::new(&at)),
        stdio: streams.descriptors(),
        group: Group::Own,
        walls: Some(outside.walls()),
    }
    .spawn()
    .map_err(|error| cannot_execute(&job.command, &error))?;
    // Its results are beside the client's tree.
    let beside = JobRoot::of_directory(directory.path()).map_err(no_room)?;
    let outputs = Outputs {
        object: Path::new("/").join(OBJECT),
        dependencies: compile.wants_dependencies().then(|| Path::new("/").join(DEPENDENCIES)),
    };
    Ok((
        child,
        streams,
        Harvest {
            root: beside,
            outputs,
            unpacked: Some(directory),
            files: job.files.inodes(),
            _share: share,
        },
    ))
}
