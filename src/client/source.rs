//! The bytes a server compiles: what the local preprocessor writes, or a source that is preprocessed already.
//!
//! Made once per job, however many hosts are tried. Knows the preprocessor; nothing of hosts.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use crate::client::settings::Settings;
use crate::compiler_args::{self, Compile, TextForm};
use crate::exit_code::WaitStatus;
use crate::log_info;
use crate::sys::child::{Child, Command, Environment, Group};
use crate::sys::mapped_file::MappedFile;
use crate::sys::signal::CleanupChild;
use crate::sys::temp;

/// A preprocessed source.
#[derive(Debug)]
pub struct Source {
    file: File,
    bytes: u64,
    form: TextForm,
    /// What the preprocessor said while it succeeded.
    diagnostics: Vec<u8>,
}

/// A preprocessor that runs.
#[derive(Debug)]
pub struct Preprocessing {
    child: Child,
    form: TextForm,
    output: File,
    diagnostics: File,
    _cleanup: CleanupChild,
}

/// Why there is no preprocessed source.
#[derive(Debug)]
pub enum SourceError {
    /// The preprocessor found a fault in the user's source.
    Rejected {
        /// How it ended.
        status: WaitStatus,
        /// What it said.
        diagnostics: Vec<u8>,
    },
    /// It could not be run.
    Failed(io::Error),
}

impl Preprocessing {
    /// Starts the preprocessor with `argv`, which writes text of the given form.
    pub fn start(
        argv: &[OsString],
        program: &Path,
        (compile, form): (&Compile, TextForm),
        settings: &Settings,
        environment: &Environment,
    ) -> io::Result<Preprocessing> {
        let mut output = if settings.save_temps {
            let (path, file) =
                temp::named_file(&settings.temporary, "distcc", compile.preprocessed_suffix().as_ref())?;
            log_info!("preprocessed source is kept in {}", path.display());
            file
        } else {
            temp::anonymous("preprocessed")?
        };
        output.write_all(&compile.preface(form))?;
        let diagnostics = temp::anonymous("diagnostics")?;
        let null = File::open("/dev/null")?;
        let child = Command {
            program,
            argv,
            environment,
            directory: None,
            stdio: [Some(null.as_fd()), Some(output.as_fd()), Some(diagnostics.as_fd())],
            group: Group::Shared,
            walls: None,
        }
        .spawn()?;
        let cleanup = CleanupChild::new(child.pid());
        Ok(Preprocessing { child, form, output, diagnostics, _cleanup: cleanup })
    }

    /// Waits for it.
    pub fn finish(mut self) -> Result<Source, SourceError> {
        let status = self.child.wait().map_err(SourceError::Failed)?;
        let diagnostics = temp::read_back(&mut self.diagnostics, u64::MAX).map_err(SourceError::Failed)?;
        if !status.success() {
            return Err(SourceError::Rejected { status, diagnostics });
        }
        let bytes = self.output.metadata().map_err(SourceError::Failed)?.len();
        Ok(Source { file: self.output, bytes, form: self.form, diagnostics })
    }
}

impl Source {
    /// A source that needs no preprocessing. It is copied, because the user may change it under us.
    pub fn already_preprocessed(compile: &Compile) -> io::Result<Source> {
        let mut file = temp::anonymous("preprocessed")?;
        let copied = File::open(compile.source()).and_then(|mut source| io::copy(&mut source, &mut file));
        let bytes = copied.map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", compile.source().display()))
        })?;
        Ok(Source { file, bytes, form: TextForm::Expanded, diagnostics: Vec::new() })
    }

    /// What the text is.
    pub fn form(&self) -> TextForm {
        self.form
    }

    /// Whether a server makes of it what the source is here, in object and in messages.
    pub fn is_faithful(&self) -> io::Result<bool> {
        if self.form == TextForm::Expanded {
            return Ok(true);
        }
        let is_said_here_only = compiler_args::is_about_gathering(&self.diagnostics);
        Ok(!is_said_here_only && compiler_args::is_faithful(&self.map()?))
    }

    /// What the preprocessor said and the server's compiler did not say again in `said_there`.
    pub fn unrepeated(&self, said_there: &[u8]) -> Vec<u8> {
        match self.form {
            TextForm::Expanded => self.diagnostics.clone(),
            TextForm::Gathered => compiler_args::unrepeated(&self.diagnostics, said_there),
        }
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The file, for sending it from inside the kernel.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The bytes, for compressing them.
    pub fn map(&self) -> io::Result<MappedFile> {
        MappedFile::of_private_file(&self.file)
    }
}
