//! The entry point: chooses the applet by the name the program was called by, and is the only place that ends
//! the process.

use std::{panic, process};

fn main() {
    // A bug ends the process, so that a server never lives on with a thread missing. An applet that can stand bugs
    // replaces this.
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |bug| {
        report(bug);
        process::abort();
    }));
    let status = distcc::applets::run(std::env::args_os().collect());
    process::exit(status);
}
