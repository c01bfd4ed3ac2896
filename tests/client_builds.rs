//! Whole builds through the tools that start compilers: make, ninja, cmake, ccache. And what a person sees of
//! them.

mod support;

use std::time::Duration;

use support::{Outcome, Run, Sandbox, require};

/// Files of a small program, C and C++, with a header that all include.
fn write_project(sandbox: &Sandbox) {
    sandbox.write(
        "part.h",
        "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\
         int one(void), two(void), three(void), four(void), five(void);\n\
         #ifdef __cplusplus\n}\n#endif\n",
    );
    for (name, number) in [("one.c", 1), ("two.c", 2), ("three.c", 3)] {
        let function = name.trim_end_matches(".c");
        sandbox.write(name, format!("#include \"part.h\"\nint {function}(void) {{ return {number}; }}\n"));
    }
    for (name, number) in [("four.cc", 4), ("five.cc", 5)] {
        let function = name.trim_end_matches(".cc");
        sandbox.write(
            name,
            format!(
                "#include \"part.h\"\n#include <vector>\n\
                 int {function}(void) {{ return std::vector<int>({number}).size(); }}\n"
            ),
        );
    }
    sandbox.write(
        "main.c",
        "#include <stdio.h>\n#include \"part.h\"\n\
         int main(void) { printf(\"%d\\n\", one() + two() + three() + four() + five()); return 0; }\n",
    );
}

/// Compilations of the project.
const FILES: usize = 6;

fn path(sandbox: &Sandbox) -> String {
    format!("{}:/usr/bin:/bin", sandbox.path("bin").display())
}

#[track_caller]
fn assert_program(sandbox: &Sandbox, program: &str) {
    let run = sandbox.command(sandbox.work(program)).run();
    assert_eq!(run.out(), "15\n", "{run}");
}

const MAKEFILE: &str = "OBJECTS = one.o two.o three.o four.o five.o main.o\n\
    program: $(OBJECTS)\n\t$(CXX) -o $@ $(OBJECTS)\n\
    %.o: %.c\n\t$(CC) -O1 -MMD -c $< -o $@\n%.o: %.cc\n\t$(CXX) -O1 -MMD -c $< -o $@\n\
    clean:\n\trm -f *.o *.d program\n-include $(OBJECTS:.o=.d)\n";

#[test]
fn make_with_distcc_before_the_compiler() {
    require("make");
    let sandbox = Sandbox::new();
    write_project(&sandbox);
    sandbox.write("Makefile", MAKEFILE);
    let daemon = sandbox.daemon().start();
    let make = |words: &[&str]| {
        let run = sandbox.command("make").args(words).args(["CC=distcc gcc", "CXX=distcc g++"]);
        let run = run.env("PATH", path(&sandbox)).hosts(&daemon.host()).run();
        assert_eq!(run.code(), 0, "{run}");
        run
    };
    make(&["-j4"]).assert_quiet_success();
    daemon.wait_for_jobs(FILES);
    assert_program(&sandbox, "program");
    // The dependency files are right: nothing to do now, and everything after a change of the header.
    assert!(make(&["-j4"]).out().contains("up to date"));
    let later = std::time::SystemTime::now() + Duration::from_secs(2);
    std::fs::File::open(sandbox.work("part.h")).unwrap().set_modified(later).unwrap();
    assert_eq!(make(&["-n"]).out().lines().filter(|line| line.contains(" -c ")).count(), FILES);
    sandbox.finish([daemon]);
}

#[test]
fn make_with_masqueraded_compilers() {
    require("make");
    let sandbox = Sandbox::new();
    write_project(&sandbox);
    sandbox.write("Makefile", MAKEFILE);
    let daemon = sandbox.debian_daemon().start();
    let masquerade = format!("{}:/usr/bin:/bin", sandbox.path("masquerade").display());
    let run = sandbox.command("make").args(["-j4", "CC=gcc", "CXX=g++"]).env("PATH", masquerade);
    run.hosts(&daemon.host_lzo()).run().assert_quiet_success();
    daemon.wait_for_jobs(FILES);
    assert_program(&sandbox, "program");
    sandbox.finish([daemon]);
}

#[test]
fn ninja_with_dependency_files() {
    require("ninja");
    let sandbox = Sandbox::new();
    write_project(&sandbox);
    let mut text = String::from(
        "rule cc\n  command = distcc gcc -MD -MF $out.d -c $in -o $out\n  depfile = $out.d\n  deps = gcc\n\
         rule cxx\n  command = distcc g++ -MD -MF $out.d -c $in -o $out\n  depfile = $out.d\n  deps = gcc\n\
         rule link\n  command = distcc g++ $in -o $out\n",
    );
    for (name, rule) in [
        ("one.c", "cc"),
        ("two.c", "cc"),
        ("three.c", "cc"),
        ("main.c", "cc"),
        ("four.cc", "cxx"),
        ("five.cc", "cxx"),
    ] {
        text += &format!("build obj/{name}.o: {rule} {name}\n");
    }
    text += "build program: link obj/one.c.o obj/two.c.o obj/three.c.o obj/main.c.o obj/four.cc.o obj/five.cc.o\n";
    sandbox.write("build.ninja", text);
    let daemon = sandbox.daemon().start();
    let ninja = || {
        let run = sandbox.command("ninja").env("PATH", path(&sandbox)).hosts(&daemon.host()).run();
        assert_eq!(run.code(), 0, "{run}");
        run.out()
    };
    ninja();
    daemon.wait_for_jobs(FILES);
    assert_program(&sandbox, "program");
    assert!(ninja().contains("no work to do"));
    let later = std::time::SystemTime::now() + Duration::from_secs(2);
    std::fs::File::open(sandbox.work("part.h")).unwrap().set_modified(later).unwrap();
    ninja();
    daemon.wait_for_jobs(2 * FILES);
    sandbox.finish([daemon]);
}

#[test]
fn cmake_with_a_launcher() {
    require("cmake");
    require("ninja");
    let sandbox = Sandbox::new();
    write_project(&sandbox);
    sandbox.write(
        "CMakeLists.txt",
        "cmake_minimum_required(VERSION 3.16)\nproject(Program C CXX)\n\
         add_executable(program one.c two.c three.c four.cc five.cc main.c)\n",
    );
    let daemon = sandbox.daemon().start();
    let cmake = |words: &[&str]| {
        let run =
            sandbox.command("cmake").args(words).env("PATH", path(&sandbox)).hosts(&daemon.host()).run();
        assert_eq!(run.code(), 0, "{run}");
    };
    let launchers = ["-DCMAKE_C_COMPILER_LAUNCHER=distcc", "-DCMAKE_CXX_COMPILER_LAUNCHER=distcc"];
    cmake(&["-G", "Ninja", "-B", "build", launchers[0], launchers[1]]);
    // Probes of the compiler may have been distributed, too.
    let probes = daemon.jobs_done();
    cmake(&["--build", "build"]);
    daemon.wait_for_jobs(probes + FILES);
    assert_program(&sandbox, "build/program");
    sandbox.finish([daemon]);
}

/// ccache in front of us, with a cache of its own.
fn ccache(sandbox: &Sandbox, words: &str, hosts: &str) -> Outcome {
    let run: Run = sandbox.command(require("ccache")).args(words.split(' '));
    run.env("PATH", path(sandbox))
        .env("CCACHE_PREFIX", "distcc")
        .env("CCACHE_DIR", sandbox.path("ccache"))
        .env("CCACHE_TEMPDIR", sandbox.path("ccache-tmp"))
        .hosts(hosts)
        .run()
}

#[test]
fn ccache_in_front_keeps_what_we_compiled() {
    let sandbox = Sandbox::new();
    write_project(&sandbox);
    let daemon = sandbox.daemon().start();
    for round in 0..2 {
        for name in ["one.c", "two.c", "main.c"] {
            let object = sandbox.work(name.replace(".c", ".o"));
            let _ = std::fs::remove_file(&object);
            ccache(&sandbox, &format!("gcc -O1 -MMD -c {name}"), &daemon.host()).assert_quiet_success();
            assert!(object.exists(), "round {round}, {name}");
        }
        // The second round comes from the cache.
        daemon.wait_for_jobs(3);
    }
    let statistics =
        sandbox.command("ccache").args(["--print-stats"]).env("CCACHE_DIR", sandbox.path("ccache")).run();
    assert!(statistics.out().contains("direct_cache_hit\t3"), "{statistics}");
    sandbox.finish([daemon]);
}

#[test]
fn ccache_does_not_keep_our_messages() {
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "int a;\n#warning from the compiler\n");
    let dead = format!("127.0.0.1:{}", support::free_port());
    let first = ccache(&sandbox, "gcc -c a.c", &dead);
    assert_eq!(first.code(), 0, "{first}");
    assert!(first.err().contains(&dead) && first.err().contains("#warning from the compiler"), "{first}");
    let second = ccache(&sandbox, "gcc -c a.c", &dead);
    assert!(!second.err().contains("distcc["), "{second}");
    assert_eq!(second.err_lines_with("warning: #warning from the compiler"), 1, "{second}");
    sandbox.finish([]);
}

/// Eight compilations at once, each with two hundred warnings, into one pipe that is read slowly.
#[test]
fn diagnostics_come_in_one_piece() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().jobs(8).start();
    for number in 0..8 {
        let mut text = String::from("int f(int);\n");
        for line in 0..200 {
            text += &format!("int g{line}(int x) {{ int unused_variable_{line}; return f(x); }}\n");
        }
        sandbox.write(format!("f{number}.c"), text);
    }
    // Remote and local compilations.
    for hosts in [format!("{}/8", daemon.host()), "localhost/8".to_string()] {
        let script: String =
            (0..8).map(|number| format!("distcc gcc -Wall -c f{number}.c 2>&1 &\n")).collect::<String>()
                + "wait\n";
        let run = sandbox
            .command("/bin/sh")
            .args(["-c", &format!("{{ {script} }} | {{ sleep 1.5; cat; }}")])
            .env("PATH", path(&sandbox))
            .hosts(&hosts)
            .run();
        let files: Vec<String> = run
            .out()
            .lines()
            .filter(|line| line.contains("warning: unused variable"))
            .map(|line| line.split(':').next().unwrap().to_owned())
            .collect();
        assert_eq!(files.len(), 8 * 200, "{hosts}: lines were torn");
        let changes = files.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(changes, 7, "{hosts}: the output of the jobs is mixed");
    }
    sandbox.finish([daemon]);
}
