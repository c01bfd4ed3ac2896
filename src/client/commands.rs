//! The commands a compilation becomes for servers: one for each form its text may take. Knows what is asked of the
//! local compiler to make them; not where they go.

use std::ffi::OsString;
use std::path::Path;

use crate::client::native;
use crate::client::session::Session;
use crate::compiler_args::{self, Compile, Family, TextForm};

/// A compilation's commands for servers.
pub struct RemoteCommands {
    /// With expanded text.
    expanded: Vec<OsString>,
    /// With gathered text, if that is the better form for this compiler and source.
    gathered: Option<Vec<OsString>>,
}

impl RemoteCommands {
    /// The commands as servers may be given them; or why the compilation is better off here.
    pub fn for_compile(session: &Session<'_>, compile: &Compile) -> Result<RemoteCommands, String> {
        let family = Family::of_name(compile.compiler());
        let natives = compile.native_options();
        if natives.is_empty() {
            return RemoteCommands::new(compile, family);
        }
        let compiler = compile.compiler();
        let program = session.invocation.find(compiler).ok_or("the compiler is not on PATH")?;
        let directory = session.settings.directory.as_deref();
        let resolved = native::resolve(&natives, compiler, &program, family, &session.environment, directory)
            .map_err(|error| format!("resolve {}: {error}", natives[0].display()))?;
        RemoteCommands::new(&compile.with_native(&resolved), family)
    }

    fn new(compile: &Compile, family: Family) -> Result<RemoteCommands, String> {
        let expanded =
            compile.plain_command(family, TextForm::Expanded).map_err(|reason| reason.to_string())?;
        let gathers = compile.text_form(family) == TextForm::Gathered;
        let gathered = gathers.then(|| compile.plain_command(family, TextForm::Gathered));
        let mut commands = RemoteCommands { expanded, gathered: gathered.and_then(Result::ok) };
        if family == Family::Clang && compile.records_directory() {
            // gcc's preprocessed text names the directory of the compilation; clang would record the server's.
            if let Ok(directory) = std::env::current_dir() {
                add_directory(&mut commands.expanded, &directory);
                commands.gathered.iter_mut().for_each(|command| add_directory(command, &directory));
            }
        }
        Ok(commands)
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
