//! A compiler that does what a test wants, on either side of the wire, without being a real one.

use super::{Daemon, DaemonBuilder, Run, Sandbox};

/// The name of that compiler.
pub const FAKE: &str = "fakecc";
/// What it does unless told otherwise: what gcc does, once per call, with a line in `calls`.
const HONEST: &str = "exec gcc \"$@\"\n";

impl Sandbox {
    /// Makes the compiler `fakecc` of clients the shell script `body`. `$CALLS` is a file that counts its
    /// calls.
    pub fn fake_client_compiler(&self, body: &str) {
        let calls = self.path("client-calls");
        self.script(format!("client-bin/{FAKE}"), &format!("echo \"$*\" >> '{}'\n{body}", calls.display()));
    }

    /// The same, behaving like gcc.
    pub fn honest_client_compiler(&self) {
        self.fake_client_compiler(HONEST);
    }

    /// The arguments of each call of the clients' `fakecc`.
    pub fn client_calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("client-calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Our daemon with the shell script `body` as its `fakecc`, which it accepts.
    pub fn daemon_with_compiler(&self, body: &str) -> DaemonBuilder {
        let directory = self.server_compilers(body);
        // Scripts leave marks outside their jobs, for the test.
        self.daemon().args(["--sandbox=off"]).env("DISTCCD_PATH", directory)
    }

    /// Another machine's compilers: a search path with `body` as `fakecc`.
    pub fn server_compilers(&self, body: &str) -> String {
        if !self.path("lib/distcc").join(FAKE).exists() {
            self.allow_compiler(FAKE);
        }
        let mut number = 0;
        while self.path(format!("server-bin-{number}")).exists() {
            number += 1;
        }
        let directory = format!("server-bin-{number}");
        self.script(format!("{directory}/{FAKE}"), body);
        format!("{}:/usr/bin:/bin", self.path(directory).display())
    }

    /// `distcc fakecc WORDS`, with the clients' `fakecc` on PATH.
    pub fn fakecc(&self, words: &str) -> Run {
        let path = format!("{}:/usr/bin:/bin", self.path("client-bin").display());
        let words = std::iter::once(FAKE).chain(words.split(' '));
        self.distcc(words).env("PATH", path)
    }
}

impl Daemon {
    /// Its word in host lists, as the name of its back-off file.
    pub fn backoff_file(&self) -> String {
        format!("backoff_tcp_127.0.0.1_{}_0", self.port())
    }
}
