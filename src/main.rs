//! The entry point: chooses the applet by the name the program was called by, and is the only place that ends
//! the process.

use std::process;

fn main() {
    let status = distcc::applets::run(std::env::args_os().collect());
    process::exit(status);
}
