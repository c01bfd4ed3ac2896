//! lsdistcc in networks made for it: hundreds of hosts, name servers that are slow or silent, names in series, two kinds of
//! addresses; in namespaces of their own, beside lsdistcc 3.4.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use support::{Outcome, Sandbox, require};

/// The default of `-c`, in milliseconds.
const CONNECT_TIME: u64 = 900;
/// What the whole run may take: that, and a fifth.
const RUN_TIME_MAX: u64 = CONNECT_TIME * 12 / 10;
/// The same where each name costs a process.
const RUN_TIME_WITH_HELPERS_MAX: u64 = CONNECT_TIME * 15 / 10;

/// What every network begins with. `$ours` and `$theirs` are the programs; the files hosts, nss and resolv of the current
/// directory are those of /etc. `peer N COMMAND` is another machine, to which 10.77.N.0/24 is routed.
const PRELUDE: &str = r#"
set -e
ours=$1 theirs=$2
ip link set lo up
cat /etc/hosts >hosts; echo 'hosts: files dns' >nss; echo 'nameserver 127.0.0.1' >resolv
mount --bind hosts /etc/hosts; mount --bind nss /etc/nsswitch.conf; mount --bind resolv /etc/resolv.conf
peer() {
    ip link add "v$1" type veth peer name w
    unshare -n sleep 1000 & pid=$!
    until [ "$(readlink /proc/$pid/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do :; done
    ip link set w netns $pid
    ip link set "v$1" up; ip addr add "10.78.$1.1/30" dev "v$1"
    nsenter -t $pid -n sh -c "ip link set lo up; ip link set w up; ip addr add 10.78.$1.2/30 dev w; $2"
    ip route add "10.77.$1.0/24" via "10.78.$1.2"
}
listen="python3 $PWD/listen.py"
await() { until (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; do sleep 0.05; done; }
"#;

/// Takes connections on both kinds of addresses, and says nothing.
const LISTEN: &str = "
import signal, socket, sys
listener = socket.create_server((sys.argv[1], 3632), family=socket.AF_INET6, backlog=4096, dualstack_ipv6=True)
signal.pause()
";

/// Runs a script in a network and mounts of its own. Whatever it leaves running ends with it.
fn in_network(sandbox: &Sandbox, script: &str) -> Outcome {
    for program in ["unshare", "ip", "python3", "nsenter", "hostname"] {
        require(program);
    }
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let kinds = if is_root { "-mnpu" } else { "-Urmnpu" };
    sandbox.write("listen.py", LISTEN);
    let ours = sandbox.path("bin/lsdistcc");
    let run = sandbox
        .command("unshare")
        .args([
            kinds,
            "--fork",
            "--kill-child",
            "--mount-proc",
            "bash",
            "-c",
            &format!("{PRELUDE}{script}"),
            "bash",
        ])
        .args([ours.to_str().unwrap(), &require("lsdistcc")])
        .within(Duration::from_secs(60))
        .run();
    assert_eq!(run.code(), 0, "{run}");
    run
}

/// Words after a keyword at the start of a line.
fn after<'a>(text: &'a str, keyword: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix(keyword)).map(str::trim).collect()
}

#[test]
fn three_hundred_names_take_the_time_of_one() {
    let sandbox = Sandbox::new();
    require("dnsmasq");
    let script = r#"
peer 1 "ip route add local 10.77.1.0/24 dev lo; $listen :: &"
peer 2 'ip route add local 10.77.2.0/24 dev lo'
peer 3 ''
for i in $(seq 100); do echo "10.77.1.$i up$i"; echo "10.77.2.$i no$i"; echo "10.77.3.$i dead$i"; done >many
names=$(for i in $(seq 100); do echo dead$i no$i up$i; done)
await 10.77.1.1 3632
measure() {
    for run in 1 2 3; do
        start=$(date +%s%N); "$ours" $names >out; end=$(date +%s%N)
        echo "$1 $(( (end - start) / 1000000 )) $(grep -c '^up' out) $(wc -l <out)"
    done
}
cat many >>hosts
measure files
echo 'hosts: files mdns4 dns' >nss
measure helpers
: >hosts; echo '127.0.0.1 localhost' >hosts
dnsmasq --no-daemon --pid-file= --no-resolv --no-hosts --addn-hosts="$PWD/many" \
    --listen-address=127.0.0.1 --bind-interfaces 2>/dev/null &
await 127.0.0.1 53
echo 'hosts: files mdns4_minimal [NOTFOUND=return] dns' >nss
measure servers
"$ours" -x $names | sort >all; grep -c ,down all; wc -l <all
"#;
    let run = in_network(&sandbox, script);
    for (kind, most) in
        [("files", RUN_TIME_MAX), ("helpers", RUN_TIME_WITH_HELPERS_MAX), ("servers", RUN_TIME_MAX)]
    {
        let out = run.out();
        let figures: Vec<Vec<u64>> = after(&out, kind)
            .iter()
            .map(|line| line.split(' ').map(|word| word.parse().unwrap()).collect())
            .collect();
        assert_eq!(figures.len(), 3, "{run}");
        println!(
            "{kind}: {} ms",
            figures.iter().map(|figures| figures[0].to_string()).collect::<Vec<_>>().join(", ")
        );
        assert!(figures.iter().all(|figures| figures[1..] == [100, 100]), "{kind}: {run}");
        // The others who work on this machine may take one run's time, but not that of three.
        let best = figures.iter().map(|figures| figures[0]).min().unwrap();
        assert!((CONNECT_TIME..=most).contains(&best), "{kind}: {best} ms: {run}");
    }
    assert!(run.out().ends_with("\n200\n300\n"), "{run}");
    sandbox.finish([]);
}

/// The comparison of a line of words: ours beside 3.4, as sorted lines and status.
const COMPARE: &str = r#"
of() { if "$@" >out 2>/dev/null; then status=0; else status=$?; fi; sort out | tr '\n' ' '; echo "status $status"; }
compare() {
    one=$(of "$ours" "$@") two=$(of "$theirs" "$@")
    if [ "$one" = "$two" ]; then echo "SAME $* -> $one"; else echo "DIFFERENT $*: $one; 3.4: $two"; fi
}
"#;

#[test]
fn series_of_names_end_where_they_end_in_3_4() {
    let sandbox = Sandbox::new();
    // Without more than one question at a time the order of answers, which is chance, does not matter.
    let script = r#"
cat >>hosts <<END
127.0.0.1 distcc1 distcc2 distcc4 distcc7 distcc11
127.0.0.2 distcc5
127.0.0.1 distcc1.example.org distcc2.example.org host.example.org
127.0.0.1 h1x h2x h3x
END
$listen ::ffff:127.0.0.1 &
await 127.0.0.1 3632
for gap in 0 1 2 3 20; do compare -o0 -g$gap; compare -o0 -g$gap -x distcc%d; compare -o0 -g$gap -n -x distcc%d; done
compare -o0 -P2; compare -o0 -P3 -r3632; compare -o0 h%dx; compare -o1 h%dx; compare -o0 -c0 h%dx; compare -o0 no%d; compare -o7 h%dx
compare -o0 -x distcc%d distcc11; compare distcc1 distcc%d; compare h%s; compare -o0 -x -m8
export HOST=me.example.org; compare -o0 -d; compare -o0 -d distcc%d; compare -d host; compare -d host distcc1
export HOST=me HOSTNAME=you.example.org; compare -o0 -d; compare -d host
unset HOST HOSTNAME
"#;
    let run = in_network(&sandbox, &format!("{COMPARE}{script}"));
    let out = run.out();
    assert_eq!(after(&out, "DIFFERENT"), Vec::<&str>::new(), "{run}");
    assert_eq!(after(&out, "SAME").len(), 32, "{run}");
    assert!(out.contains("SAME -o0 -g3 -> distcc1 distcc2 distcc4 distcc7 status 0\n"), "{run}");
    assert!(out.contains("SAME -o0 -d -> distcc1.example.org distcc2.example.org status 0\n"), "{run}");
    sandbox.finish([]);
}

#[test]
fn what_3_4_does_not_know() {
    let sandbox = Sandbox::new();
    let script = r#"
peer 3 ''
cat >>hosts <<END
127.0.0.1 node01 node02 here near
10.77.3.1 half far
127.0.0.1 half
fd00::77 six
::1 both
10.77.3.2 both
END
$listen :: &
await 127.0.0.1 3632
ip -6 route add fd00::/64 dev v3
ask() { echo "ASK $*"; "$ours" "$@" >out && status=0 || status=$?; sort out; echo "STATUS $status"; }
# Numbers of a fixed width.
ask node%02d
# Every address of a name is tried.
ask -n half both; ask -x -c200 six
# Hosts before the first one that is elsewhere are tried, whoever answers first; and no other.
ask -m16 far here near; ask -m8 here near far here; ask -m31 -c200 -x far here
ask -m8 -o0 node0%d
# A domain that nobody knows.
hostname lonely
env -u HOST -u HOSTNAME "$ours" -d here 2>&1 | sed 's/.*option/option/'
"#;
    let run = in_network(&sandbox, script);
    let out = run.out();
    let asked: Vec<&str> = out.split("ASK ").skip(1).collect();
    for (words, expected) in [
        ("node%02d", "node01\nnode02\nSTATUS 0\n"),
        ("-x -c200 six", "six,down\nSTATUS 0\n"),
        ("-m16 far here near", "STATUS 0\n"),
        ("-m8 here near far here", "here\nnear\nSTATUS 0\n"),
        ("-m31 -c200 -x far here", "far,down\nSTATUS 0\n"),
        ("-m8 -o0 node0%d", "node01\nnode02\nSTATUS 0\n"),
    ] {
        let answer = asked.iter().find_map(|asked| asked.strip_prefix(&format!("{words}\n")));
        assert!(answer.is_some_and(|answer| answer.starts_with(expected)), "{words}: {run}");
    }
    assert!(out.contains("ASK -n half both\n"), "{run}");
    assert!(out.contains("\n127.0.0.1\n") && out.contains("\n[::1]\n"), "{run}");
    assert!(
        out.contains("option -d: neither HOST, HOSTNAME nor this machine's own name has a domain"),
        "{run}"
    );
    sandbox.finish([]);
}

#[test]
fn name_servers_that_are_silent_or_lose_a_question() {
    let sandbox = Sandbox::new();
    // Answers with 127.0.0.1 to whatever begins with `known`, with `no such name` to `no`, to the second question after
    // a name that begins with `lost`, and to nothing else.
    let server = r#"
import socket, struct
s = socket.socket(type=socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 53))
asked = {}
while True:
    question, who = s.recvfrom(999)
    name, kind = question[13:13 + question[12]], question[13 + question[12]:][-20:]
    end = question.index(b"\0", 12) + 5
    kind = question[end - 4:end - 2]
    port = who[1]
    asked.setdefault((name, kind), set()).add(port)
    if name.startswith(b"lost") and len(asked[name, kind]) < 2:
        continue
    if not name.startswith((b"known", b"no", b"lost")):
        continue
    code, found = (3, 0) if name.startswith(b"no") else (0, 1 if kind == b"\0\1" else 0)
    head = question[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, found, 0, 0) + question[12:end]
    record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 9, 4) + bytes([127, 0, 0, 1])
    s.sendto(head + record * found, who)
"#;
    let script = r#"
python3 server.py &
$listen :: &
await 127.0.0.1 3632
until python3 -c 'import socket; socket.gethostbyname("known0")' 2>/dev/null; do sleep 0.05; done
silent=$(for i in $(seq 300); do echo silent$i; done)
run() { start=$(date +%s%N); if "$ours" "$@" >out 2>err; then status=0; else status=$?; fi; end=$(date +%s%N)
    echo "RUN $(( (end - start) / 1000000 )) $status $(tr '\n' ' ' <out)"; }
run -t1 $silent known1
run -t1 -v silent1 known1; grep silent1 err
run -t4 -h100 lost1
run -t1 lost2
run -t9 no1
run -t9 -o0 known%d
exit 0
"#;
    sandbox.write("server.py", server);
    let run = in_network(&sandbox, script);
    let out = run.out();
    let runs: Vec<Vec<&str>> =
        after(&out, "RUN").iter().map(|line| line.split(' ').collect::<Vec<_>>()).collect();
    assert_eq!(runs.len(), 6, "{run}");
    let check = |index: usize, status: &str, found: &[&str], at_most: u64| {
        let [time, code, names @ ..] = &runs[index][..] else { panic!("{run}") };
        let time: u64 = time.parse().unwrap();
        assert_eq!((*code, names), (status, found), "run {index}: {run}");
        assert!(time <= at_most, "run {index} took {time} ms: {run}");
    };
    // Many that nobody answers about are in nobody's way.
    check(0, "0", &["known1"], 1900);
    check(1, "0", &["known1"], 1900);
    assert!(out.contains("silent1: name services have not answered"), "{run}");
    // The library would ask again after five seconds.
    check(2, "0", &["lost1"], 2500);
    check(3, "0", &["lost2"], 1900);
    check(4, "1", &[], 5000);
    let known: Vec<String> = (1..=500).map(|number| format!("known{number}")).collect();
    let mut found = runs[5][2..].to_vec();
    found.sort_by_key(|name| (name.len(), *name));
    assert_eq!(found, known);
    sandbox.finish([]);
}
