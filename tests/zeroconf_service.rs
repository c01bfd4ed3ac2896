//! Services in a host list, whose hosts a name server knows (SRV): dnsmasq, in a network of its own. Needs root.

#[path = "zeroconf/machine.rs"]
mod machine;
mod support;

use std::fs;
use std::time::{Duration, Instant};

use machine::{Machine, network};
use support::{Sandbox, require, wait_until};

/// Starts a name server for example.net with these records, and makes it the machine's.
fn serve(machine: &Machine, records: &[String]) {
    require("dnsmasq");
    let options = "nameserver 127.0.0.1\nsearch example.net\noptions timeout:1 attempts:1\n";
    machine.run(&[
        "sh",
        "-c",
        &format!("printf '{options}' > /run/resolv && mount --bind /run/resolv /etc/resolv.conf"),
    ]);
    let mut words =
        vec!["dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null"];
    words.extend([
        "--user=root",
        "--pid-file=/run/dnsmasq",
        "--listen-address=127.0.0.1",
        "--local=/example.net/",
    ]);
    words.extend(records.iter().map(String::as_str));
    machine.start(&words);
    wait_until("the name server", || {
        machine.command("sh").args(["-c", "ss -lun | grep -q ':53 '"]).status().unwrap().success()
    });
}

fn stop(machine: &Machine) {
    machine.run(&["pkill", "-x", "dnsmasq"]);
    wait_until("the name server's end", || {
        !machine.command("pgrep").args(["-x", "dnsmasq"]).output().unwrap().status.success()
    });
}

fn record(host: &str, port: u16, priority: u16, weight: u16) -> String {
    format!("--srv-host=_distcc._tcp.example.net,{host},{port},{priority},{weight}")
}

/// What `--show-hosts` prints and warns for a list, and how long it takes.
fn show(sandbox: &Sandbox, machine: &Machine, list: &str) -> (String, String, Duration) {
    let began = Instant::now();
    let output = machine
        .command(sandbox.path("bin/distcc"))
        .arg("--show-hosts")
        .env("DISTCC_HOSTS", list)
        .env("DISTCC_DIR", sandbox.path("distcc"))
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), began.elapsed())
}

#[test]
fn a_service_becomes_its_hosts_and_the_answer_is_kept() {
    let Some((machine, _other)) = network("red", "blue") else { return };
    let sandbox = Sandbox::new();
    let records = [
        record("c.example.net", 3632, 20, 1),
        record("b.example.net", 99, 10, 1),
        record("a.example.net", 3632, 10, 5),
    ];
    serve(&machine, &records);
    let expected =
        "first\na.example.net:3632/8,lzo,cpp\nb.example.net:99/8,lzo,cpp\nc.example.net:3632/8,lzo,cpp\n";
    for list in ["first _distcc._tcp.example.net/8,lzo,cpp", "first _distcc._tcp/8,lzo,cpp"] {
        let (hosts, problems, _) = show(&sandbox, &machine, list);
        assert_eq!(hosts, expected, "{list}: {problems}");
    }
    let (_, problems, _) = show(&sandbox, &machine, "_distcc._tcp.example.org.");
    assert!(problems.contains("service _distcc._tcp.example.org.: "), "{problems}");
    // Without a name server the answer that is kept serves, also when it is too old.
    stop(&machine);
    let list = "first _distcc._tcp.example.net/8,lzo,cpp";
    assert_eq!(show(&sandbox, &machine, list).0, expected);
    let file = sandbox.path("distcc/dns/_distcc._tcp.example.net");
    let kept = fs::read_to_string(&file).unwrap();
    let old: Vec<&str> =
        kept.lines().map(|line| if line.starts_with("until") { "until 1" } else { line }).collect();
    fs::write(&file, old.join("\n") + "\n").unwrap();
    assert_eq!(show(&sandbox, &machine, list).0, expected);
    let kept = fs::read_to_string(&file).unwrap();
    assert!(kept.contains("\n# name server 127.0.0.1:53"), "{kept}");
}

#[test]
fn many_hosts_come_by_tcp() {
    let Some((machine, _other)) = network("red", "blue") else { return };
    let sandbox = Sandbox::new();
    let records: Vec<String> =
        (0..100).map(|n| record(&format!("host{n:03}.example.net"), 3632, n, 1)).collect();
    serve(&machine, &records);
    let (hosts, problems, _) = show(&sandbox, &machine, "_distcc._tcp.example.net");
    assert_eq!(hosts.lines().count(), 100, "{problems}");
    assert_eq!(hosts.lines().last(), Some("host099.example.net:3632"));
}

#[test]
fn a_silent_name_server_costs_a_known_time_and_only_once() {
    let Some((machine, _other)) = network("red", "blue") else { return };
    let sandbox = Sandbox::new();
    // The cable's other end has no such host.
    let resolver = "printf 'nameserver 10.99.0.7\\nnameserver 10.99.0.8\\n' > /run/r && mount --bind /run/r /etc/resolv.conf";
    machine.run(&["sh", "-c", resolver]);
    let (hosts, problems, time) = show(&sandbox, &machine, "_distcc._tcp.example.net");
    assert!(
        hosts.is_empty() && problems.contains("leads to no hosts: service _distcc._tcp.example.net: "),
        "{problems}"
    );
    assert!(time < Duration::from_secs(7), "{time:?}");
    let (_, problems, time) = show(&sandbox, &machine, "_distcc._tcp.example.net");
    assert!(problems.contains("leads to no hosts"), "{problems}");
    assert!(time < Duration::from_millis(500), "{time:?}");
    let (hosts, problems, _) = show(&sandbox, &machine, "_distcc._tcp.example.net other");
    assert_eq!((hosts.as_str(), problems.as_str()), ("other\n", ""));
}
