//! The commands a compilation becomes for servers: one for each form its text may take. Knows what is asked of the
//! local compiler to make them; not where they go.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::client::include_variables;
use crate::client::native;
use crate::client::session::Session;
use crate::client::settings::CompilerPaths;
use crate::compiler_args::{self, Compile, Family, TextForm};

/// A compilation's commands for servers.
pub struct RemoteCommands {
    /// With expanded text.
    expanded: Vec<OsString>,
    /// With gathered text, if that is the better form for this compiler and source.
    gathered: Option<Vec<OsString>>,
    /// The compilation with this machine's processor spelled out, if it asks for that.
    resolved: Option<Compile>,
}

/// The command for a server that preprocesses.
#[derive(Debug)]
pub struct PumpCommand {
    /// As servers of 3.4 accept it.
    pub argv: Vec<OsString>,
    /// As the user gave it, if that is different.
    pub own_words: Option<Vec<OsString>>,
}

impl PumpCommand {
    /// The command; or what about it has to be done here.
    pub fn for_compile(compile: &Compile) -> Result<PumpCommand, String> {
        let name = compile.compiler();
        let mut argv =
            compile.pump_command(Family::of_name(name), None).map_err(|reason| reason.to_string())?;
        let is_cxx =
            name.as_bytes().ends_with(b"++") || name.as_bytes().windows(3).any(|part| part == b"++-");
        let language = if is_cxx { compile.language().with_cxx() } else { compile.language() };
        let directories = include_variables::as_options(&CompilerPaths::from_environment(), language)?;
        let own_words = [compile.argv(), &directories].concat();
        argv.extend(directories);
        if let Some(word) = compiler_args::refused_word(&argv) {
            return Err(format!("servers of 3.4 refuse {}", word.display()));
        }
        Ok(PumpCommand { own_words: (own_words != argv).then_some(own_words), argv })
    }
}

impl RemoteCommands {
    /// The commands as servers may be given them; or why the compilation is better off here.
    pub fn for_compile(session: &Session<'_>, compile: &Compile) -> Result<RemoteCommands, String> {
        let family = session.invocation.family(compile.compiler());
        let natives = compile.native_options();
        if natives.is_empty() {
            return RemoteCommands::new(compile, family);
        }
        let compiler = compile.compiler();
        let program = session.invocation.find(compiler).ok_or("the compiler is not on PATH")?;
        let directory = session.settings.directory.as_deref();
        let resolved = native::resolve(&natives, compiler, &program, family, &session.environment, directory)
            .map_err(|error| format!("resolve {}: {error}", natives[0].display()))?;
        let resolved = compile.with_native(&resolved);
        let mut commands = RemoteCommands::new(&resolved, family)?;
        commands.resolved = Some(resolved);
        Ok(commands)
    }

    /// The same without asking the compiler anything: what it has not said before of this machine's processor is left
    /// out. The second value says whether something is.
    pub fn as_far_as_known(
        session: &Session<'_>,
        compile: &Compile,
    ) -> Result<(RemoteCommands, bool), String> {
        let family = session.invocation.family(compile.compiler());
        let natives = compile.native_options();
        if natives.is_empty() {
            return Ok((RemoteCommands::new(compile, family)?, false));
        }
        let program = session.invocation.find(compile.compiler()).ok_or("the compiler is not on PATH")?;
        let known = native::known(&natives, &program, session.settings.directory.as_deref());
        let resolved = compile.with_native(known.as_deref().unwrap_or_default());
        let mut commands = RemoteCommands::new(&resolved, family)?;
        commands.resolved = Some(resolved);
        Ok((commands, known.is_none()))
    }

    fn new(compile: &Compile, family: Family) -> Result<RemoteCommands, String> {
        let expanded =
            compile.plain_command(family, TextForm::Expanded).map_err(|reason| reason.to_string())?;
        let gathers = compile.text_form(family) == TextForm::Gathered;
        let gathered = gathers.then(|| compile.plain_command(family, TextForm::Gathered));
        let mut commands =
            RemoteCommands { expanded, gathered: gathered.and_then(Result::ok), resolved: None };
        if family == Family::Clang && compile.records_directory() {
            // gcc's preprocessed text names the directory of the compilation; clang would record the server's.
            if let Ok(directory) = std::env::current_dir() {
                add_directory(&mut commands.expanded, &directory);
                commands.gathered.iter_mut().for_each(|command| add_directory(command, &directory));
            }
        }
        Ok(commands)
    }

    /// The command for a server that preprocesses; or what about it has to be done here. `compile` is what these
    /// commands were made for.
    pub fn unpreprocessed(&self, compile: &Compile) -> Result<PumpCommand, String> {
        PumpCommand::for_compile(self.resolved.as_ref().unwrap_or(compile))
    }

    /// The form to preprocess to.
    pub fn best_form(&self) -> TextForm {
        if self.gathered.is_some() { TextForm::Gathered } else { TextForm::Expanded }
    }

    /// The command that goes with a text.
    pub fn with_text(&self, form: TextForm) -> &[OsString] {
        match form {
            TextForm::Expanded => &self.expanded,
            TextForm::Gathered => self.gathered.as_ref().expect("BUG: gathered without a command for it"),
        }
    }
}

/// Tells clang the directory to record for debuggers, unless a server of 3.4 would take it for a source file.
fn add_directory(command: &mut Vec<OsString>, directory: &Path) {
    let before = command.len();
    command.extend(["-fdebug-compilation-dir".into(), directory.into()]);
    if compiler_args::refused_word(command).is_some() {
        command.truncate(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_looks_like_a_source_is_not_sent() {
        let command: Vec<OsString> = ["clang", "-g", "-c", "a.c", "-o", "a.o"].map(OsString::from).into();
        for (directory, added) in [("/home/me/project", 2), ("/home/me/odd.c", 0)] {
            let mut words = command.clone();
            add_directory(&mut words, Path::new(directory));
            assert_eq!(words.len() - command.len(), added, "{directory}");
        }
    }
}
