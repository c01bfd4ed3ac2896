//! A real sshd on the loopback interface, for hosts that are reached through ssh.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use super::{Running, Sandbox, free_port, is_root, require, wait_until};

/// A real sshd, with keys of its own, that lets us in; and the command that connects to it.
pub fn start_sshd(sandbox: &Sandbox) -> (Running, u16, String) {
    let (sshd, keygen) = (require("sshd"), require("ssh-keygen"));
    let directory = sandbox.path("ssh");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    for name in ["host", "user"] {
        let key = directory.join(name);
        let run = sandbox.command(&keygen).args(["-q", "-t", "ed25519", "-N", "", "-f"]).args([key]).run();
        run.assert_quiet_success();
    }
    if is_root() {
        // Where sshd locks its unprivileged half up; the package's service makes it.
        fs::create_dir_all("/run/sshd").unwrap();
    }
    let (port, path) = (free_port(), directory.display().to_string());
    fs::write(
        directory.join("sshd_config"),
        format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {path}/host\nAuthorizedKeysFile {path}/user.pub\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nPidFile none\n"
        ),
    )
    .unwrap();
    fs::write(
        directory.join("config"),
        format!(
            "Host *\n Port {port}\n IdentityFile {path}/user\n IdentitiesOnly yes\n BatchMode yes\n \
             StrictHostKeyChecking no\n UserKnownHostsFile {path}/known\n LogLevel ERROR\n"
        ),
    )
    .unwrap();
    let server = sandbox.command(sshd).args(["-D", "-e", "-f"]).args([directory.join("sshd_config")]);
    let mut server = server.start();
    wait_until("sshd", || TcpStream::connect(("127.0.0.1", port)).is_ok() || !server.is_running());
    (server, port, format!("ssh -F {path}/config"))
}
