//! The programs that tests need besides our own, and the packages they come from.

use std::path::Path;

/// The client of distcc 3.4, as Debian packages it.
pub const DEBIAN_DISTCC: &str = "/usr/bin/distcc";
/// The server of distcc 3.4.
pub const DEBIAN_DISTCCD: &str = "/usr/bin/distccd";

/// Programs, and the Debian package to install for each.
const PACKAGES: &[(&str, &str)] = &[
    ("ccache", "ccache"),
    ("clang", "clang"),
    ("clang++", "clang"),
    ("cmake", "cmake"),
    ("distcc", "distcc"),
    ("distcc-pump", "distcc-pump"),
    ("distccd", "distcc"),
    ("distcc-pump", "distcc-pump"),
    ("distccmon-text", "distcc"),
    ("dnsmasq", "dnsmasq-base"),
    ("g++", "g++"),
    ("gcc", "gcc"),
    ("gdb", "gdb"),
    ("kadmin.local", "krb5-admin-server"),
    ("kdb5_util", "krb5-kdc"),
    ("kinit", "krb5-user"),
    ("krb5kdc", "krb5-kdc"),
    ("lsdistcc", "distcc"),
    ("make", "make"),
    ("ip", "iproute2"),
    ("ninja", "ninja-build"),
    ("sshd", "openssh-server"),
    ("ssh-keygen", "openssh-client"),
    ("systemd-analyze", "systemd"),
    ("strace", "strace"),
    ("unshare", "util-linux"),
    ("promtool", "prometheus"),
    ("xinetd", "xinetd"),
];

/// Fails the test, naming the package, unless the program is installed: a test never passes because it could
/// not be run. Returns its path.
#[track_caller]
pub fn require(program: &str) -> String {
    let found = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"]
        .iter()
        .map(|directory| format!("{directory}/{program}"))
        .find(|path| Path::new(path).exists());
    let package = PACKAGES.iter().find(|row| row.0 == program).map_or(program, |row| row.1);
    found.unwrap_or_else(|| panic!("{program} is missing; install the package {package} (tests/run does)"))
}
