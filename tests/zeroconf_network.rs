//! Zeroconf in a network of its own: hosts are namespaces on one cable, with real Avahi and with distcc 3.4 on either
//! side. Needs root, who alone may make such networks.

#[path = "zeroconf/machine.rs"]
mod machine;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use machine::{Machine, network};
use support::{Sandbox, require, wait_until};

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
            .map(drop)
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
    // Who talks to the network has given up what it does not need.
    let pid = server.run(&["pgrep", "-f", "^distccd-announcer"]);
    let status = server.run(&["cat", &format!("/proc/{}/status", pid.trim())]);
    let has = |line: &str| status.lines().any(|found| found.split_whitespace().eq(line.split_whitespace()));
    assert!(has("Seccomp: 2") && has("NoNewPrivs: 1") && !status.contains("\nUid:\t0"), "{status}");
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
        .map(drop)
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
