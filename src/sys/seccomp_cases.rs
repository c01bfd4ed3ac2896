//! What must be true of a system call filter: processes are held to one, and try. Where the kernel takes no filters,
//! each case says so.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{c_int, c_long, sock_filter};

use crate::sys::seccomp::{ARCHITECTURES, Audience, Filter, REFUSED, Verdict};
use crate::sys::temp::TempDir;

const AUDIENCES: [Audience; 3] = [Audience::Confined, Audience::Unconfined, Audience::Daemon];

fn is_available() -> bool {
    let is_available = Filter::is_available();
    if !is_available {
        eprintln!("NOT CHECKED, because this kernel takes no system call filters");
    }
    is_available
}

/// What a child that runs `check` ends with. It has one thread, and may allocate: glibc's allocator survives a fork.
fn in_child(check: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the child ends without running anything of the parent's; `status` is writable.
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0);
        if pid == 0 {
            libc::_exit(check());
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
        assert!(libc::WIFEXITED(status), "ended with {status:#x}");
        libc::WEXITSTATUS(status)
    }
}

/// The same, held to a filter.
fn filtered(audience: Audience, check: impl FnOnce() -> c_int) -> c_int {
    let filter = Filter::new(audience);
    in_child(|| {
        // SAFETY: numbers only; and the child shares nothing with its parent.
        unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            if filter.apply_here() != 0 { 255 } else { check() }
        }
    })
}

/// Makes a system call that touches no memory: 0, or its errno.
fn attempt(number: c_long, arguments: [c_long; 3]) -> c_int {
    let [first, second, third] = arguments;
    // SAFETY: the callers give numbers, and pointers that no memory is at.
    let result = unsafe { libc::syscall(number, first, second, third, -1_isize, -1_isize, -1_isize) };
    if result < 0 { io::Error::last_os_error().raw_os_error().unwrap_or(0) } else { 0 }
}

/// The same as a 32-bit program does it.
#[cfg(target_arch = "x86_64")]
fn attempt_as_32_bit(number: i32, arguments: [c_long; 3]) -> c_int {
    let mut result = number;
    // SAFETY: as above. The registers are those of the 32-bit convention; ebx must be back where it was afterwards.
    unsafe {
        std::arch::asm!(
            "xchg {first}, rbx", "int 0x80", "xchg {first}, rbx",
            first = inout(reg) arguments[0] => _,
            inout("eax") result,
            in("rcx") arguments[1], in("rdx") arguments[2], in("rsi") -1_i64, in("rdi") -1_i64,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    -result.min(0)
}

/// Arguments with which a call is refused, and the error. -1 is no address, no descriptor and no process, so that a
/// call does nothing where the filter fails to stop it.
fn refusal(verdict: Verdict) -> ([c_long; 3], c_int) {
    let mut arguments = [-1; 3];
    match verdict {
        Verdict::Refused(errno) | Verdict::RefusedUnless(_, errno) => (arguments, errno),
        Verdict::RefusedIf(argument, errno) => {
            arguments[argument.index as usize] = c_long::from(argument.values[0]);
            (arguments, errno)
        }
    }
}

fn refused(audience: Audience) -> impl Iterator<Item = (usize, (c_long, i32), Verdict)> {
    let groups = REFUSED.iter().filter(move |group| group.audiences.contains(&audience));
    let calls = groups.flat_map(|group| group.calls.iter().map(|call| (*call, group.verdict)));
    calls.enumerate().map(|(index, (call, verdict))| (index, call, verdict))
}

#[test]
fn the_kernel_refuses_each_call_of_the_list() {
    if !is_available() {
        return;
    }
    for audience in AUDIENCES {
        let at = filtered(audience, || {
            for (index, (number, _), verdict) in refused(audience).filter(|(_, call, _)| call.0 >= 0) {
                let (arguments, errno) = refusal(verdict);
                if attempt(number, arguments) != errno {
                    return index as c_int + 1;
                }
            }
            0
        });
        assert_eq!(at, 0, "{audience:?}: {:?}", refused(audience).nth((at - 1) as usize).map(|row| row.1));
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_kernel_refuses_each_call_of_the_list_to_32_bit_programs() {
    const GETPID: i32 = 20;
    // SAFETY: the child does one system call, which kills it where there are no 32-bit programs.
    let runs = unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::_exit(attempt_as_32_bit(GETPID, [0; 3]));
        }
        let mut status = 0;
        libc::waitpid(pid, &mut status, 0);
        status == 0
    };
    if !runs {
        eprintln!("NOT CHECKED, because this kernel runs no 32-bit programs");
    }
    if !runs || !is_available() {
        return;
    }
    for audience in AUDIENCES {
        let at = filtered(audience, || {
            for (index, (_, number), verdict) in refused(audience).filter(|(_, call, _)| call.1 >= 0) {
                let (arguments, errno) = refusal(verdict);
                if attempt_as_32_bit(number, arguments) != errno {
                    return index as c_int + 1;
                }
            }
            attempt_as_32_bit(GETPID, [0; 3])
        });
        assert_eq!(at, 0, "{audience:?}: {:?}", refused(audience).nth((at - 1) as usize).map(|row| row.1));
    }
}

/// What a filter answers, by the rules of classic BPF.
fn answer(program: &[sock_filter], data: [u32; 16]) -> u32 {
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let instruction = &program[at];
        at += 1;
        let jump = |is_met: bool| usize::from(if is_met { instruction.jt } else { instruction.jf });
        match u32::from(instruction.code) {
            0x20 => accumulator = data[instruction.k as usize / 4],
            0x54 => accumulator &= instruction.k,
            0x05 => at += instruction.k as usize,
            0x15 => at += jump(accumulator == instruction.k),
            0x35 => at += jump(accumulator >= instruction.k),
            0x06 => return instruction.k,
            code => panic!("instruction {code:#x}"),
        }
    }
}

#[test]
fn every_number_gets_the_answer_of_its_line_in_the_list() {
    const WORDS_OF_ARGUMENTS: [u32; 6] = [0, 1, 8, libc::AF_INET as u32, libc::TIOCSTI as u32, libc::S_IFBLK];
    for audience in AUDIENCES {
        let filter = Filter::new(audience);
        for architecture in ARCHITECTURES {
            for number in (0..600).chain([0x3fff_ffff, 0x4000_0000, 0x4000_0029, u32::MAX]) {
                for word in WORDS_OF_ARGUMENTS {
                    let mut lines = refused(audience)
                        .filter(|(_, call, _)| (architecture.number)(call) == i64::from(number))
                        .map(|(_, _, verdict)| verdict);
                    let errno = match lines.next() {
                        _ if number >= architecture.end => Some(libc::ENOSYS),
                        None => None,
                        Some(Verdict::Refused(errno)) => Some(errno),
                        Some(Verdict::RefusedIf(argument, errno)) => {
                            argument.values.contains(&(word & argument.mask)).then_some(errno)
                        }
                        Some(Verdict::RefusedUnless(argument, errno)) => {
                            (!argument.values.contains(&(word & argument.mask))).then_some(errno)
                        }
                    };
                    assert!(lines.next().is_none(), "{number} is there twice");
                    let expected = errno.map_or(libc::SECCOMP_RET_ALLOW, |errno| 0x0005_0000 | errno as u32);
                    let mut data = [word; 16];
                    (data[0], data[1]) = (number, architecture.token);
                    let answer = answer(&filter.program, data);
                    assert_eq!(answer, expected, "{audience:?} {:#x} {number} {word}", architecture.token);
                }
            }
        }
        let foreign = answer(&filter.program, [0; 16]);
        assert_eq!(foreign, libc::SECCOMP_RET_KILL_PROCESS, "{audience:?}");
    }
}

#[test]
fn what_each_audience_needs_goes_on() {
    if !is_available() {
        return;
    }
    let (unix, fifo) = (c_long::from(libc::AF_UNIX), c_long::from(libc::S_IFIFO | 0o600));
    let datagram = c_long::from(libc::SOCK_DGRAM);
    // No address is at -1, and no namespace is of these flags: what gets past the filter fails with another error.
    let cases: &[(&[Audience], c_long, [c_long; 3], c_int)] = &[
        (&AUDIENCES, libc::SYS_prlimit64, [0, c_long::from(libc::RLIMIT_CPU), 0], libc::EFAULT),
        (&AUDIENCES, libc::SYS_mknodat, [-1, -1, fifo], libc::EFAULT),
        (&AUDIENCES, libc::SYS_ioctl, [-1, libc::FIONREAD as c_long, 0], libc::EBADF),
        (&AUDIENCES, libc::SYS_openat2, [-1, -1, -1], libc::E2BIG),
        (&AUDIENCES, libc::SYS_pidfd_open, [-1, 0, 0], libc::EINVAL),
        (&AUDIENCES, libc::SYS_seccomp, [-1, 0, 0], libc::EINVAL),
        (&AUDIENCES, 444, [0, 0, 1 << 31], libc::EINVAL), // landlock_create_ruleset
        (&AUDIENCES[..1], libc::SYS_setpgid, [0, -1, 0], libc::EINVAL),
        (&AUDIENCES[2..], libc::SYS_setpgid, [0, -1, 0], libc::EINVAL),
        (&AUDIENCES[2..], libc::SYS_socket, [unix, datagram, 0], 0),
        (&AUDIENCES[2..], libc::SYS_memfd_create, [-1, 0, 0], libc::EFAULT),
        (&AUDIENCES[2..], libc::SYS_unshare, [c_long::from(libc::CLONE_FILES), 0, 0], 0),
        (&AUDIENCES[2..], libc::SYS_unshare, [1, 0, 0], libc::EINVAL),
        (&AUDIENCES[2..], libc::SYS_mount, [-1, -1, -1], libc::EFAULT),
        (&AUDIENCES[2..], libc::SYS_umount2, [-1, 1 << 20, 0], libc::EINVAL),
        (&AUDIENCES[2..], libc::SYS_mount_setattr, [-1, -1, 1 << 20], libc::EINVAL),
        (&AUDIENCES[2..], libc::SYS_capset, [-1, -1, 0], libc::EFAULT),
        (&AUDIENCES[2..], libc::SYS_accept4, [-1, 0, 0], libc::EBADF),
        (&AUDIENCES[2..], libc::SYS_sendfile, [-1, -1, 0], libc::EBADF),
    ];
    for (audiences, number, arguments, errno) in cases {
        for audience in *audiences {
            let found = filtered(*audience, || attempt(*number, *arguments));
            assert_eq!(found, *errno, "{audience:?}: {number} {arguments:?}");
        }
    }
}

#[test]
fn only_the_daemon_makes_namespaces() {
    if !is_available() {
        return;
    }
    // Everything that is 0 here is a null pointer: a child without a stack of its own is a fork.
    let fork = |flags: c_int| {
        // SAFETY: as fork: the child ends at once.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags | libc::SIGCHLD, 0, 0, 0, 0) };
        if pid == 0 {
            // SAFETY: ends the process.
            unsafe { libc::_exit(0) };
        }
        if pid < 0 { io::Error::last_os_error().raw_os_error().unwrap_or(0) } else { 0 }
    };
    let possible = in_child(|| fork(libc::CLONE_NEWUSER));
    for audience in AUDIENCES {
        assert_eq!(filtered(audience, || fork(0)), 0, "{audience:?}");
        let expected = if audience == Audience::Daemon { possible } else { libc::EPERM };
        assert_eq!(filtered(audience, || fork(libc::CLONE_NEWUSER)), expected, "{audience:?}");
    }
}

#[test]
fn all_threads_of_a_daemon_are_held_to_its_filter() {
    if !is_available() {
        return;
    }
    static HELD: AtomicBool = AtomicBool::new(false);
    let found = in_child(|| {
        let thread = std::thread::spawn(|| {
            while !HELD.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            std::net::UdpSocket::bind("127.0.0.1:0").err().and_then(|error| error.raw_os_error())
        });
        // SAFETY: no memory is involved.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        let applied = Filter::new(Audience::Daemon).apply();
        HELD.store(true, Ordering::Release);
        match (applied, thread.join()) {
            (Ok(()), Ok(errno)) => errno.unwrap_or(0),
            _ => 255,
        }
    });
    assert_eq!(found, libc::EACCES);
}

/// Runs a script in the directory, held to a daemon's filter and, as what it started, to that of the audience.
fn script(audience: Audience, directory: &TempDir, text: &str) -> Output {
    let filters = [Filter::new(Audience::Daemon), Filter::new(audience)];
    let mut command = Command::new("/bin/sh");
    command.args(["-e", "-c", text]).current_dir(directory.path());
    let hold = move || {
        // SAFETY: numbers only, in the child; the filters are alive in it.
        let error = filters.iter().map(|filter| unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            filter.apply_here()
        });
        match error.max() {
            Some(0) => Ok(()),
            error => Err(io::Error::from_raw_os_error(error.unwrap_or(0))),
        }
    };
    // SAFETY: `hold` makes system calls only.
    unsafe { command.pre_exec(hold) };
    command.output().unwrap()
}

#[test]
fn compilers_and_their_wrappers_work_unharmed() {
    if !is_available() {
        return;
    }
    let cases = [
        ("cc", "cc -c a.c -o a.o && test -s a.o"),
        ("gcc", "gcc -pipe -g -O2 -flto -c a.c -o a.o && gcc -O2 -flto a.o -o a && ./a"),
        ("g++", "g++ -O2 -c b.cc -o b.o && g++ b.o -o b && ./b"),
        ("clang", "clang -O2 -c a.c -o a.o && test -s a.o"),
        ("clang++", "clang++ -c b.cc -o b.o && test -s b.o"),
        ("as", "gcc -S a.c -o - | as -o a.o && ld -r a.o -o all.o && ar rc all.a all.o && ranlib all.a"),
        (
            "sh",
            "(echo 1 & wait; sed s/1/2/ </dev/null | sort) | tr 1 3 | grep -q 3; ulimit -t 100; ulimit -a",
        ),
        (
            "make",
            "printf '.PHONY: all\\nall: a.o a2.o\\na2.o: a.c\\n\\tcc -c a.c -o a2.o\\n' >Makefile && make -j2",
        ),
        ("perl", "perl -e 'open(P, \"-|\", \"echo 1\"); exit 1 if <P> != 1; system(\"true\") and exit 2'"),
        ("python3", "python3 -c 'import subprocess; subprocess.check_call([\"cc\", \"-c\", \"a.c\"])'"),
        ("timeout", "timeout 100 cc -c a.c"),
        ("mkfifo", "mkfifo pipe; (cat a.c >pipe &); cc -xc -c pipe -o a.o"),
    ];
    for audience in [Audience::Confined, Audience::Unconfined] {
        let directory = TempDir::create(&std::env::temp_dir(), "filtered", false).unwrap();
        std::fs::write(directory.path().join("a.c"), "#include <stdio.h>\nint main(void) { return 0; }\n")
            .unwrap();
        let source = "#include <string>\n#include <vector>\nint main() { return std::vector<std::string>().size(); }\n";
        std::fs::write(directory.path().join("b.cc"), source).unwrap();
        for (program, text) in cases {
            let found = Command::new("/bin/sh").args(["-c", &format!("command -v {program}")]).output();
            if !found.unwrap().status.success() {
                eprintln!("NOT CHECKED, because {program} is not installed");
                continue;
            }
            let output = script(audience, &directory, text);
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && told.is_empty(), "{audience:?}: {text}: {told}");
        }
    }
}

#[test]
fn only_a_confined_compiler_may_leave_its_group() {
    if !is_available() {
        return;
    }
    let directory = TempDir::create(&std::env::temp_dir(), "filtered", false).unwrap();
    for (audience, expected) in [(Audience::Confined, true), (Audience::Unconfined, false)] {
        // Forks first, as a leader of a group may not leave it anyway.
        let output = script(audience, &directory, "(setsid true; echo left) | grep left");
        assert_eq!(output.status.success(), expected, "{audience:?}: {output:?}");
    }
}
