//! A Kerberos realm of the test's own on the loopback interface: a real MIT key distribution centre, principals, keytabs
//! and tickets. And the build of our binary that can use it.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::{Run, Running, Sandbox, free_port, require, wait_until};

/// Our binary with GSS-API, built once for a test program.
pub fn gssapi_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        // Beside the test's own: another set of flags, which would make cargo build everything anew each time.
        let target = Path::new(env!("CARGO_BIN_EXE_distcc")).parent().unwrap().join("gssapi");
        let status = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--profile",
                "checked",
                "--bin",
                "distcc",
                "--features",
                "gssapi",
                "--target-dir",
            ])
            .arg(&target)
            .env("RUSTFLAGS", "-C target-feature=-crt-static")
            .current_dir(root)
            .status();
        assert!(status.is_ok_and(|status| status.success()), "build the binary with GSS-API (libkrb5-dev?)");
        let found = fs::read_dir(&target).unwrap().flatten().map(|entry| entry.path().join("checked/distcc"));
        found.into_iter().find(|path| path.exists()).expect("a binary")
    })
}

/// A realm. Its centre runs until it is dropped.
pub struct Realm {
    name: &'static str,
    directory: PathBuf,
    kdc: Option<Running>,
}

impl Realm {
    /// Makes a realm in the sandbox, and starts its centre.
    pub fn new(sandbox: &Sandbox, name: &'static str) -> Realm {
        let directory = sandbox.path(format!("realm-{name}"));
        fs::create_dir(&directory).unwrap();
        let (port, path) = (free_port(), directory.display().to_string());
        fs::write(
            directory.join("krb5.conf"),
            format!(
                "[libdefaults]\n default_realm = {name}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n \
                 rdns = false\n dns_canonicalize_hostname = false\n udp_preference_limit = 1\n clockskew = 1\n\
                 [realms]\n {name} = {{\n  kdc = 127.0.0.1:{port}\n }}\n[domain_realm]\n localhost = {name}\n"
            ),
        )
        .unwrap();
        fs::write(
            directory.join("kdc.conf"),
            format!(
                "[kdcdefaults]\n kdc_listen = \"\"\n kdc_tcp_listen = 127.0.0.1:{port}\n[realms]\n {name} = {{\n  \
                 database_name = {path}/principals\n  key_stash_file = {path}/stash\n  acl_file = {path}/acl\n }}\n\
                 [logging]\n kdc = FILE:{path}/kdc.log\n"
            ),
        )
        .unwrap();
        let mut realm = Realm { name, directory, kdc: None };
        let create = ["create", "-s", "-P", "master", "-r", name];
        realm.run(sandbox, "kdb5_util", &create).assert_worked();
        let kdc = realm.command(sandbox, "krb5kdc").args(["-n"]).start();
        wait_until("the key distribution centre", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        realm.kdc = Some(kdc);
        realm
    }

    fn command(&self, sandbox: &Sandbox, program: &str) -> Run {
        self.within(sandbox.command(require(program)))
    }

    fn run(&self, sandbox: &Sandbox, program: &str, words: &[&str]) -> super::Outcome {
        self.command(sandbox, program).args(words).run()
    }

    /// Lets a program know the realm.
    pub fn within(&self, run: Run) -> Run {
        self.variables().into_iter().fold(run, |run, (name, value)| run.env(name, value))
    }

    /// What programs must know of the realm.
    pub fn variables(&self) -> [(&'static str, PathBuf); 2] {
        [
            ("KRB5_CONFIG", self.directory.join("krb5.conf")),
            ("KRB5_KDC_PROFILE", self.directory.join("kdc.conf")),
        ]
    }

    /// Makes principals, and a file with their keys that everybody here can read.
    pub fn keytab(&self, sandbox: &Sandbox, name: &str, principals: &[&str]) -> PathBuf {
        let keytab = self.directory.join(format!("{name}.keytab"));
        for principal in principals {
            for query in [
                format!("addprinc -randkey {principal}"),
                format!("ktadd -norandkey -k {} {principal}", keytab.display()),
            ] {
                self.run(sandbox, "kadmin.local", &["-r", self.name, "-q", &query]).assert_worked();
            }
        }
        fs::set_permissions(&keytab, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        keytab
    }

    /// Gets a ticket for a user, whose keys are made for it; `lifetime` as kinit(1) has it. Returns the file it is in.
    pub fn ticket(&self, sandbox: &Sandbox, user: &str, lifetime: &str) -> PathBuf {
        let keytab = self.keytab(sandbox, user, &[user]);
        let cache = self.directory.join(format!("{user}.tickets"));
        let (keytab, file) = (keytab.display().to_string(), cache.display().to_string());
        let words = ["-k", "-t", &keytab, "-c", &file, "-l", lifetime, user];
        self.run(sandbox, "kinit", &words).assert_worked();
        cache
    }

    /// Ends the centre.
    pub fn stop(&mut self) {
        if let Some(kdc) = self.kdc.take() {
            kdc.signal("TERM");
            kdc.finish();
        }
    }
}
