//! The three ways to call the client, its questions, and the guard against calling itself.

mod support;

use support::Sandbox;

#[test]
fn an_explicit_compiler_is_distributed() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.daemon().start();
    sandbox.write("a.c", "int a;\n");
    sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&daemon.host()).run().assert_quiet_success();
    daemon.wait_for_jobs(1);
    assert!(!sandbox.read("a.o").is_empty());
    sandbox.finish([daemon]);
}

#[test]
fn an_explicit_compiler_is_distributed_by_debian() {
    let sandbox = Sandbox::new();
    let daemon = sandbox.debian_daemon().start();
    sandbox.write("a.c", "int a;\n");
    sandbox.distcc(["gcc", "-c", "a.c"]).hosts(&daemon.host()).run().assert_quiet_success();
    daemon.wait_for_jobs(1);
    sandbox.finish([daemon]);
}
