//! What the log says about finished work, in the words of distcc 3.4, by which scripts count what was compiled where.
//! Decides nothing.

use std::time::{Duration, Instant};

use crate::client::remote::Reply;
use crate::compiler_args::Compile;
use crate::hosts::spec::Host;
use crate::log::{self, Level};
use crate::log_info;
use crate::sys::process;

/// A host has answered; `bytes` of source went there, beginning at `began`.
pub fn reply(compile: &Compile, host: &Host, bytes: u64, reply: &Reply, began: Instant) {
    let name = compile.source().display();
    let seconds = began.elapsed().as_secs_f64();
    let rate = bytes as f64 / 1024.0 / seconds.max(1e-6);
    log_info!("{bytes} bytes from {name} compiled on {} in {seconds:.4}s, rate {rate:.0}kB/s", host.name());
    end(compile, &host.word, reply.status.shell_code());
}

/// A compilation has ended somewhere.
pub fn end(compile: &Compile, host: &str, status: i32) {
    let name = compile.source().display();
    match status {
        0 => log_info!("compile {name} on {host} completed ok"),
        1 => log_info!("compile {name} on {host} failed"),
        code => log_info!("compile {name} on {host} failed with exit code {code}"),
    }
}

/// This process ends; it began at `began`.
pub fn usage(began: Instant, status: i32) {
    if !log::enabled(Level::Info) {
        return;
    }
    let (own, children) = (process::usage_of_self(), process::usage_of_children());
    let seconds = Duration::as_secs_f64;
    log_info!("elapsed compilation time {:.6}s", began.elapsed().as_secs_f64());
    log_info!(
        "exit: code {status}; self: {:.6} user {:.6} sys; children: {:.6} user {:.6} sys",
        seconds(&own.user),
        seconds(&own.system),
        seconds(&children.user),
        seconds(&children.system)
    );
}
