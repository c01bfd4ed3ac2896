//! Zeroconf in a network of its own: hosts are namespaces on one cable, with real Avahi and with distcc 3.4 on either
//! side. Needs root, who alone may make such networks.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use support::{Sandbox, require, wait_until};

const BUS: &str = r#"<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen>
<auth>EXTERNAL</auth><policy context="default"><allow user="*"/><allow send_destination="*" eavesdrop="true"/>
<allow eavesdrop="true"/><allow own="*"/></policy></busconfig>"#;

static CABLES: AtomicU32 = AtomicU32::new(0);

/// A machine: namespaces in which everything ends with it.
struct Machine {
    holder: Child,
    inside: u32,
}

impl Machine {
    fn new(name: &str) -> Machine {
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
        std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut said).unwrap();
        let children = format!("/proc/{0}/task/{0}/children", holder.id());
        let inside = fs::read_to_string(children).unwrap().trim().parse().unwrap();
        Machine { holder, inside }
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.inside.to_string(), "-m", "-n", "-u", "-p", "--"]).arg(program);
        command.stdin(Stdio::null()).env("LC_ALL", "C").env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        command
    }

    #[track_caller]
    fn run(&self, words: &[&str]) -> String {
        let output = self.command(words[0]).args(&words[1..]).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts what goes on until the machine ends.
    fn start(&self, words: &[&str]) {
        self.command(words[0])
            .args(&words[1..])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(drop)
            .unwrap();
    }

    fn with_avahi(self) -> Machine {
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
    fn browse(&self) -> Vec<String> {
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

fn network(name: &str, other: &str) -> Option<(Machine, Machine)> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("not root: not tried");
        return None;
    }
    let (one, other) = (Machine::new(name), Machine::new(other));
    connect(&one, &other);
    Some((one, other))
}

/// Where our programs are, and their files.
struct Ours {
    sandbox: Sandbox,
}

impl Ours {
    fn new() -> Ours {
        let sandbox = Sandbox::new();
        sandbox.write("x.c", "int x;\n");
        Ours { sandbox }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path(name)
    }

    /// Starts our daemon, and returns its log.
    fn daemon(&self, machine: &Machine, options: &[&str]) -> PathBuf {
        let temporary = self.sandbox.server_directory();
        let log = temporary.with_extension("log");
        machine
            .command(self.path("bin/distccd"))
            .args([
                "--zeroconf",
                "--no-detach",
                "--daemon",
                "--allow=0.0.0.0/0",
                "--allow=::/0",
                "--log-stderr",
            ])
            .args(options)
            .env("TMPDIR", temporary)
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        wait_until("the daemon", || text(&log).contains("listening on"));
        log
    }

    fn client(
        &self,
        machine: &Machine,
        program: impl AsRef<std::ffi::OsStr>,
        words: &[&str],
    ) -> (String, String) {
        let output = machine
            .command("env")
            .arg("-C")
            .arg(self.sandbox.work(""))
            .arg(program.as_ref())
            .args(words)
            .env("DISTCC_DIR", self.path("distcc"))
            .env("DISTCC_HOSTS", "+zeroconf")
            .env("DISTCC_FALLBACK", "0")
            .env("DISTCC_PUMP", "0")
            .env("TMPDIR", self.path("tmp"))
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    }

    fn distcc(&self, machine: &Machine, words: &[&str]) -> (String, String) {
        self.client(machine, self.path("bin/distcc"), words)
    }

    /// The hosts, as soon as there are so many.
    #[track_caller]
    fn hosts(&self, machine: &Machine, count: usize) -> Vec<String> {
        let mut found = Vec::new();
        wait_until("so many hosts", || {
            let (said, _) = self.distcc(machine, &["--show-hosts"]);
            found = said.lines().map(str::to_owned).collect();
            found.len() == count
        });
        found
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn our_client_finds_our_server_compiles_there_and_forgets_it_when_it_is_gone() {
    let Some((client, server)) = network("red", "blue") else { return };
    let ours = Ours::new();
    let log = ours.daemon(&server, &["--jobs=3"]);
    wait_until("the announcement", || text(&log).contains("announced as distcc@blue"));
    let began = Instant::now();
    let (said, problems) = ours.distcc(&client, &["--show-hosts"]);
    assert_eq!(said, "10.99.0.2:3632/3,lzo,cpp\n", "{problems}");
    assert!(began.elapsed() < Duration::from_millis(1400), "the first client: {:?}", began.elapsed());
    let (_, problems) = ours.distcc(&client, &["gcc", "-c", "x.c"]);
    assert!(ours.sandbox.work("x.o").exists(), "{problems}");
    assert!(text(&log).contains("COMPILE_OK"), "{}", text(&log));
    // A second server, and the end of the first one: with SIGKILL, which it cannot tell anybody.
    let second = ours.daemon(&server, &["--port=0", "--jobs=2"]);
    wait_until("the collision", || text(&second).contains("distcc@blue (2)"));
    assert_eq!(ours.hosts(&client, 2).len(), 2);
    server.run(&["pkill", "-9", "-f", "jobs=3"]);
    let left = ours.hosts(&client, 1);
    assert!(left[0].ends_with("/2,lzo,cpp") && !left[0].contains(":3632"), "{left:?}");
    server.run(&["pkill", "-TERM", "-f", "jobs=2"]);
    wait_until("an empty network", || {
        ours.distcc(&client, &["--show-hosts"])
            .1
            .contains("+zeroconf: no server has answered; servers must run")
    });
    wait_until("the announcers' end", || {
        !server.command("pgrep").args(["-f", "announcer"]).output().unwrap().status.success()
    });
}

#[test]
fn avahi_sees_our_server_in_3_4s_form_and_its_clients_compile_on_it() {
    let Some((client, server)) = network("red", "blue") else { return };
    let client = client.with_avahi();
    let ours = Ours::new();
    let log = ours.daemon(&server, &["--jobs=3"]);
    wait_until("Avahi's view", || !client.browse().is_empty());
    let seen = client.browse().join("\n");
    for word in [
        "distcc\\064blue",
        "\"txtvers=1\"",
        "\"jobs=3\"",
        "\"distcc=",
        "\"gnuhost=",
        "\"cc_machine=",
        "\"lzo=1\"",
        "\"cpp=1\"",
        ";3632;",
    ] {
        assert!(seen.contains(word), "{word} is not in {seen}");
    }
    let mut said = (String::new(), String::new());
    wait_until("a client of 3.4", || {
        said = ours.client(&client, "/usr/bin/distcc", &["gcc", "-c", "x.c"]);
        ours.sandbox.work("x.o").exists() && text(&log).contains("COMPILE_OK")
    });
    // Its process keeps the list now; ours reads it.
    let (hosts, problems) = ours.distcc(&client, &["--show-hosts"]);
    assert!(hosts.contains(":3632/3"), "{hosts} {problems}");
}

#[test]
fn servers_of_3_4_and_those_that_avahi_publishes_are_found_and_used() {
    let Some((client, server)) = network("red", "blue") else { return };
    let server = server.with_avahi();
    let ours = Ours::new();
    let daemon =
        "exec distccd --zeroconf --no-detach --daemon --allow 0.0.0.0/0 --jobs 3 --log-stderr 2> /run/log";
    server.start(&["sh", "-c", daemon]);
    server.start(&[
        "avahi-publish",
        "-s",
        "distcc@other",
        "_distcc._tcp",
        "3999",
        "txtvers=1",
        "jobs=6",
        "cc_version=99",
    ]);
    server.start(&[
        "avahi-publish",
        "-s",
        "distcc@plain",
        "_distcc._tcp",
        "3998",
        "txtvers=1",
        "cpus=2",
        "jobs=5",
    ]);
    wait_until("Avahi's view", || server.browse().len() >= 3);
    let mut hosts = ours.hosts(&client, 2);
    hosts.sort();
    // The one with another compiler is not among them; of options nothing was said.
    assert_eq!(hosts, ["10.99.0.2:3632/3", "10.99.0.2:3998/5"]);
    for number in 0..20 {
        ours.sandbox.write(format!("y{number}.c"), "int y;\n");
        ours.distcc(&client, &["gcc", "-c", &format!("y{number}.c")]);
        if server.run(&["cat", "/run/log"]).contains("COMPILE_OK") {
            return;
        }
    }
    panic!("{}", server.run(&["cat", "/run/log"]));
}

#[test]
fn an_ipv6_only_network_has_servers_and_an_interface_may_come_late() {
    let Some((client, server)) = network("red", "blue") else { return };
    let ours = Ours::new();
    for machine in [&client, &server] {
        machine.run(&["ip", "addr", "flush", "dev", "cable", "scope", "global"]);
    }
    server.run(&["ip", "link", "set", "cable", "down"]);
    let log = ours.daemon(&server, &["--jobs=3"]);
    let (_, problems) = ours.distcc(&client, &["--show-hosts"]);
    assert!(problems.contains("no server has answered"), "{problems}");
    server.run(&["ip", "link", "set", "cable", "up"]);
    let found = ours.hosts(&client, 1);
    assert!(found[0].starts_with("[fe80::") && found[0].contains("%cable]:3632/3,lzo"), "{found:?}");
    let (_, problems) = ours.distcc(&client, &["gcc", "-c", "x.c"]);
    assert!(ours.sandbox.work("x.o").exists(), "{problems} {}", text(&log));
}

#[test]
fn a_server_on_the_loopback_says_that_nobody_would_hear_of_it() {
    let Some((_, server)) = network("red", "blue") else { return };
    let ours = Ours::new();
    let log = ours.daemon(&server, &["--listen=127.0.0.1"]);
    assert!(text(&log).contains("--zeroconf: this server listens on the loopback only"), "{}", text(&log));
}

#[test]
fn the_list_is_given_up_when_nobody_reads_it() {
    let Some((client, server)) = network("red", "blue") else { return };
    let ours = Ours::new();
    ours.daemon(&server, &[]);
    let directory = ours.path("distcc/zeroconf");
    fs::create_dir(&directory).unwrap();
    std::os::unix::fs::symlink("distcc", ours.path("bin/distcc-zeroconf")).unwrap();
    let idle = "4";
    client
        .command(ours.path("bin/distcc-zeroconf"))
        .arg(&directory)
        .args(["/usr/bin", idle])
        .spawn()
        .unwrap();
    wait_until("an answer", || text(&directory.join("hosts")).contains(":3632"));
    // Reading is enough to keep it, whatever the file system does with times.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(7) {
        assert!(text(&directory.join("hosts")).contains(":3632"));
        std::thread::sleep(Duration::from_millis(500));
    }
    wait_until("its end", || {
        !client.command("pgrep").args(["-f", "distcc-zeroconf"]).output().unwrap().status.success()
    });
    assert_eq!(text(&directory.join("hosts")), "");
}

/// Sends records that nobody has asked for, for ever, each for another name and good for 68 years.
const FLOOD: &str = r#"
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.bind(("10.99.0.1", 5353))
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.99.0.1"))
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
number = 0
while True:
    records = b""
    for _ in range(40):
        number += 1
        label = b"x%d" % number
        name = bytes([len(label)]) + label + b"\5local\0"
        records += name + struct.pack(">HHIH", 1, 1, 0x7FFFFFFF, 4) + struct.pack(">I", number)
    s.sendto(struct.pack(">HHHHHH", 0, 0x8400, 0, 40, 0, 0) + records, ("224.0.0.251", 5353))
"#;

/// The memory of a machine's process of this name, in kibibytes.
fn resident(machine: &Machine, name: &str) -> u64 {
    let script = format!("grep VmRSS /proc/$(pgrep -of {name})/status | tr -dc 0-9");
    machine.run(&["sh", "-c", &script]).parse().unwrap_or(0)
}

#[test]
fn who_floods_the_network_fills_nobodys_memory() {
    require("python3");
    let Some((client, server)) = network("red", "blue") else { return };
    let ours = Ours::new();
    let log = ours.daemon(&server, &["--jobs=3"]);
    ours.hosts(&client, 1);
    let mut flood = client.command("python3").args(["-c", FLOOD]).spawn().unwrap();
    wait_until("the flood's end for the announcer", || text(&log).contains("floods multicast DNS"));
    client.run(&["pkill", "-f", "sendto"]);
    flood.wait().unwrap();
    for (machine, name) in [(&server, "distccd-announcer"), (&client, "distcc-zeroconf")] {
        wait_until(name, || (1..64 << 10).contains(&resident(machine, name)));
    }
    ours.hosts(&client, 1);
}
