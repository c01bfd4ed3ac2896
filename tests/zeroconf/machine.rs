//! Machines made of namespaces, on one cable. Only root may make them.

#![allow(dead_code)]

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::{require, wait_until};

const BUS: &str = r#"<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen>
<auth>EXTERNAL</auth><policy context="default"><allow user="*"/><allow send_destination="*" eavesdrop="true"/>
<allow eavesdrop="true"/><allow own="*"/></policy></busconfig>"#;

static CABLES: AtomicU32 = AtomicU32::new(0);

/// A machine: namespaces in which everything ends with it.
pub struct Machine {
    holder: Child,
    inside: u32,
}

impl Machine {
    /// A machine of this name, with nothing but a loopback.
    pub fn new(name: &str) -> Machine {
        for program in ["unshare", "nsenter", "ip"] {
            require(program);
        }
        let script = format!(
            "mount -t tmpfs tmpfs /run && hostname {name} && ip link set lo up && echo up && exec sleep 300"
        );
        let mut holder = Command::new("unshare")
            .args(["-mnu", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"])
            .args(["sh", "-c", &script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 3];
        holder.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
        let children = format!("/proc/{0}/task/{0}/children", holder.id());
        let inside = fs::read_to_string(children).unwrap().trim().parse().unwrap();
        Machine { holder, inside }
    }

    /// A program on it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.inside.to_string(), "-m", "-n", "-u", "-p", "--"]).arg(program);
        command.stdin(Stdio::null()).env("LC_ALL", "C").env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        command
    }

    #[track_caller]
    pub fn run(&self, words: &[&str]) -> String {
        let output = self.command(words[0]).args(&words[1..]).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts what goes on until the machine ends.
    pub fn start(&self, words: &[&str]) {
        self.command(words[0])
            .args(&words[1..])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(drop)
            .unwrap();
    }

    /// The same with a bus and Avahi.
    pub fn with_avahi(self) -> Machine {
        require("avahi-daemon");
        let script = format!("mkdir -p /run/dbus /run/avahi-daemon; cat > /run/bus.conf <<'E'\n{BUS}\nE\n");
        self.run(&["sh", "-c", &script]);
        self.start(&["dbus-daemon", "--config-file=/run/bus.conf", "--nofork", "--nopidfile"]);
        wait_until("the bus", || {
            self.command("test").args(["-S", "/run/dbus/system_bus_socket"]).status().unwrap().success()
        });
        self.start(&["avahi-daemon", "--no-drop-root", "--no-chroot", "--no-rlimits", "-f", "/dev/null"]);
        wait_until("Avahi", || self.command("avahi-browse").arg("-at").output().unwrap().status.success());
        self
    }

    /// What Avahi sees of servers, with all there is to know.
    pub fn browse(&self) -> Vec<String> {
        let all = self.run(&["avahi-browse", "-rpt", "_distcc._tcp"]);
        all.lines().filter(|line| line.starts_with('=')).map(str::to_owned).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Lays a cable between two machines: 10.99.0.1 and .2, and fd00::1 and ::2.
fn connect(one: &Machine, other: &Machine) {
    let number = CABLES.fetch_add(1, Ordering::Relaxed);
    let names = ["a", "b"].map(|end| format!("zc{end}{number}p{}", std::process::id()));
    let names = names.map(|name| name.chars().take(15).collect::<String>());
    let ip =
        |words: &[&str]| assert!(Command::new("ip").args(words).status().unwrap().success(), "{words:?}");
    ip(&["link", "add", &names[0], "type", "veth", "peer", "name", &names[1]]);
    for (index, (machine, name)) in [one, other].into_iter().zip(&names).enumerate() {
        ip(&["link", "set", name, "netns", &machine.inside.to_string()]);
        let script = format!(
            "ip link set {name} name cable; ip addr add 10.99.0.{0}/24 dev cable; \
             ip addr add fd00::{0}/64 dev cable nodad; ip link set cable up",
            index + 1
        );
        machine.run(&["sh", "-c", &script]);
    }
}

/// Two machines on a cable; none without root.
pub fn network(name: &str, other: &str) -> Option<(Machine, Machine)> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("not root: not tried");
        return None;
    }
    let (one, other) = (Machine::new(name), Machine::new(other));
    connect(&one, &other);
    Some((one, other))
}
