//! The environment of a pump job's compiler: nothing in it but what the client sent may change what is written.
//!
//! Owns the list of variables that could. Knows no process and no file.

use std::ffi::{OsStr, OsString};

use crate::protocol::surroundings::VARIABLES;
use crate::sys::child::Environment;

/// Variables that change what a compiler writes, or where, beside those that travel (gcc(1), ENVIRONMENT; the
/// driver of clang; ld.so(8), malloc_info and gettext of the C library). A `*` stands for any ending.
///
/// LD_LIBRARY_PATH is not among them: it says where the compiler's own libraries are, and a compiler that an
/// administrator has put somewhere unusual may not start without it.
const CHANGE_OUTPUT: [&str; 36] = [
    "CCC_*",
    "CLANG_*",
    "CLICOLOR*",
    "COLLECT_*",
    "COMPILER_PATH",
    "CPATH",
    "CPLUS_INCLUDE_PATH",
    "C_INCLUDE_PATH",
    "DEPENDENCIES_OUTPUT",
    "DISTCC*",
    "EDITING_MODE",
    "FORCE_COLOR",
    "GCC_*",
    "GLIBC_TUNABLES",
    "GPROF_*",
    "LC_*",
    "LD_AUDIT",
    "LD_PRELOAD",
    "LD_RUN_PATH",
    "LIBRARY_PATH",
    "LLVM_*",
    "MACOSX_DEPLOYMENT_TARGET",
    "MAKEFLAGS",
    "MALLOC_*",
    "MFLAGS",
    "OBJCPLUS_INCLUDE_PATH",
    "OBJC_INCLUDE_PATH",
    "OLDPWD",
    "OUTPUT_CHARSET",
    "PWD",
    "SDKROOT",
    "SUNPRO_DEPENDENCIES",
    "TERM*",
    "TMP",
    "TEMP",
    "ZERO_AR_DATE",
];

/// The variables a client sent.
pub type Variables = Vec<(&'static str, OsString)>;

/// Variables that known compilers need of a server: where programs and their libraries are, and our guard against
/// running ourselves.
const NEEDED: [&str; 3] = ["LD_LIBRARY_PATH", "PATH", "_DISTCC_SAFEGUARD"];

/// Which of the daemon's own variables are none of a compiler's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All but the needed ones: the administrator has said which compilers run here, and a client can make a compiler
    /// tell what it sees.
    Needed,
    /// Those that change output. Clients may run any program here (`--enable-tcp-insecure`), and nobody knows what that
    /// one needs: the address of its licence server, say.
    Harmless,
}

/// What of the daemon's environment compilers of pump jobs get. `travels` says whether the client sent its own
/// variables; a client of 3.4 does not, and gets the daemon's language and terminal, as from a server of 3.4.
pub fn harmless(environment: &Environment, kept: Kept, travels: bool) -> Environment {
    let mut environment = environment.clone();
    environment.retain(|name| {
        let is_sent = VARIABLES.iter().any(|known| known.as_bytes() == name);
        match kept {
            _ if is_sent && name != b"PWD" => !travels,
            Kept::Needed => NEEDED.iter().any(|needed| needed.as_bytes() == name),
            Kept::Harmless => !changes_output(name),
        }
    });
    environment
}

/// Whether a variable is on the list.
fn changes_output(name: &[u8]) -> bool {
    CHANGE_OUTPUT.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning.as_bytes()),
        None => name == pattern.as_bytes(),
    })
}

/// The environment of one compiler: `base` is one of [`harmless`], `directory` where it runs, `temporary` where its
/// own files go.
pub fn environment(
    base: &Environment,
    variables: Option<&Variables>,
    directory: &OsStr,
    temporary: &OsStr,
) -> Environment {
    let mut environment = base.clone();
    // The client's own spelling of its directory follows, if that is a true one.
    environment.set("PWD", directory);
    for (name, value) in variables.into_iter().flatten() {
        environment.set(name, value);
    }
    environment.set("TMPDIR", temporary);
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(environment: &Environment) -> Vec<String> {
        let mut names: Vec<String> = format!("{environment:?}")
            .split('"')
            .skip(1)
            .step_by(2)
            .map(|entry| entry.split('=').next().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_changes_output_stays_outside() {
        let mut daemons = Environment::default();
        for name in [
            "PATH",
            "HOME",
            "STUB",
            "LD_LIBRARY_PATH",
            "_DISTCC_SAFEGUARD",
            "CPATH",
            "GCC_EXEC_PREFIX",
            "LANG",
            "LC_ALL",
            "LC_TIME",
            "TZ",
            "SOURCE_DATE_EPOCH",
            "PWD",
            "DISTCC_HOSTS",
            "LD_PRELOAD",
            "TERM",
            "COLLECT_GCC_OPTIONS",
            "CLICOLOR_FORCE",
        ] {
            daemons.set(name, "x".as_ref());
        }
        let ours = ["HOME", "LD_LIBRARY_PATH", "PATH", "STUB", "_DISTCC_SAFEGUARD"];
        assert_eq!(names(&harmless(&daemons, Kept::Harmless, true)), ours);
        assert_eq!(names(&harmless(&daemons, Kept::Needed, true)), NEEDED);
        let kept = harmless(&daemons, Kept::Harmless, false);
        let of_old_clients = ["CLICOLOR_FORCE", "LANG", "LC_ALL", "SOURCE_DATE_EPOCH", "TERM", "TZ"];
        let mut expected = [ours.as_slice(), &of_old_clients].concat();
        expected.sort();
        assert_eq!(names(&kept), expected);
        let mut expected = [NEEDED.as_slice(), &of_old_clients].concat();
        expected.sort();
        assert_eq!(names(&harmless(&daemons, Kept::Needed, false)), expected);
    }

    #[test]
    fn the_clients_word_counts() {
        let base = Environment::default();
        let sent = vec![("PWD", OsString::from("/link")), ("LANG", OsString::from("C"))];
        let made = environment(&base, Some(&sent), OsStr::new("/real"), OsStr::new("/tmp"));
        assert_eq!(format!("{made:?}").matches("PWD=").count(), 1);
        assert!(format!("{made:?}").contains("PWD=/link"), "{made:?}");
        assert!(
            format!("{:?}", environment(&base, None, OsStr::new("/real"), OsStr::new("/t")))
                .contains("PWD=/real")
        );
    }
}
