//! A system call filter (seccomp): what a process, and all it starts, may ask of the kernel.
//!
//! Knows numbers of system calls and who needs them; not when a filter is applied, and nothing of files: those are
//! Landlock's and the namespaces'. It names what is refused, so that compilers nobody here knows go on working.
//!
//! Measured with Linux 6.18 on x86_64: to install a filter (300 instructions) takes 50 to 60 microseconds, and
//! to be rid of it when the process is gone about as much again. A call that is allowed whatever its arguments takes a
//! few nanoseconds more than without a filter, one whose arguments are judged 15 to 20.

// Without a table, nothing asks for what it is made of.
#![cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")),
    allow(unused)
)]

use std::io;

use libc::{EACCES, ENOSYS, EPERM, c_int, c_long, sock_filter};

/// Whose system calls a filter judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// A compiler in a chamber, which has a pid namespace of its own.
    Confined,
    /// A compiler without namespaces. It makes no sessions and no process groups either, so that its group is all there
    /// is of it.
    Unconfined,
    /// The daemon itself, which makes namespaces, mounts in them and starts programs. It opens no sockets any more but
    /// local ones; those it has go on.
    Daemon,
    /// A part of ours that talks to the network and parses what it hears. It starts no program.
    Messenger,
}

/// A call's number on this machine's architecture, and as a 32-bit program on x86 makes it.
pub(super) type Call = (c_long, i32);

/// In the place of a number: there is no such call.
const NONE: i32 = -1;

/// Calls that are refused to the same processes for the same reason.
pub(super) struct Group {
    pub(super) audiences: &'static [Audience],
    pub(super) verdict: Verdict,
    pub(super) calls: &'static [Call],
}

/// What becomes of a call.
#[derive(Clone, Copy)]
pub(super) enum Verdict {
    /// It fails with this error.
    Refused(c_int),
    /// It fails with this error if an argument has one of the values.
    RefusedIf(Argument, c_int),
    /// It fails with this error unless an argument has one of the values.
    RefusedUnless(Argument, c_int),
}

/// The bits of an argument that matter, and values of them. All are in its low word: the kernel itself takes no more
/// of any argument that is judged here.
#[derive(Clone, Copy)]
pub(super) struct Argument {
    pub(super) index: u32,
    pub(super) mask: u32,
    pub(super) values: &'static [u32],
}

const ALL: &[Audience] = &[Audience::Confined, Audience::Unconfined, Audience::Daemon, Audience::Messenger];
/// Those that make no namespaces.
const INMATES: &[Audience] = &[Audience::Confined, Audience::Unconfined, Audience::Messenger];
const COMPILERS: &[Audience] = &[Audience::Confined, Audience::Unconfined];

/// The flags of clone(2) that make a namespace. That of time is not among them: there its bit is part of a signal's
/// number.
const NEW_NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;

const WHOLE: u32 = u32::MAX;
const MAKES_NO_NAMESPACE: Argument = Argument { index: 0, mask: NEW_NAMESPACES, values: &[0] };
const IS_ITSELF: Argument = Argument { index: 0, mask: WHOLE, values: &[0] };
const IS_LOCAL: Argument = Argument { index: 0, mask: WHOLE, values: &[libc::AF_UNIX as u32] };
const DEVICES: &[u32] = &[libc::S_IFCHR, libc::S_IFBLK];
const IS_DEVICE_AT: Argument = Argument { index: 2, mask: libc::S_IFMT, values: DEVICES };
const TYPES_FOR_OTHERS: Argument =
    Argument { index: 1, mask: WHOLE, values: &[libc::TIOCSTI as u32, libc::TIOCLINUX as u32] };

/// Everything that is refused. What is not here, what a new kernel brings included, is allowed.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
pub(super) const REFUSED: &[Group] = &[
    // Programs probe for these and do without. clone3 has its flags where a filter cannot see them, so all are to use
    // clone. The others bring their own ways around the file system, and had more than their share of holes.
    Group {
        audiences: ALL,
        verdict: Verdict::Refused(ENOSYS),
        calls: &[
            (libc::SYS_clone3, 435),
            (libc::SYS_io_uring_setup, 425),
            (libc::SYS_io_uring_enter, 426),
            (libc::SYS_io_uring_register, 427),
            (libc::SYS_pidfd_getfd, 438),
            (libc::SYS_memfd_secret, 447),
            (libc::SYS_userfaultfd, 374),
        ],
    },
    // What is written to a file in memory could be executed, whatever is mounted noexec.
    Group {
        audiences: COMPILERS,
        verdict: Verdict::Refused(ENOSYS),
        calls: &[(libc::SYS_memfd_create, 356)],
    },
    // How much of the processors others of the same user get, which outlasts a job.
    Group {
        audiences: COMPILERS,
        verdict: Verdict::Refused(EPERM),
        calls: &[
            (libc::SYS_setpriority, 97),
            (libc::SYS_ioprio_set, 289),
            (libc::SYS_sched_setaffinity, 241),
            (libc::SYS_sched_setscheduler, 156),
            (libc::SYS_sched_setparam, 154),
            (libc::SYS_sched_setattr, 351),
        ],
    },
    // Other processes: their memory, files, pages and limits.
    Group {
        audiences: ALL,
        verdict: Verdict::Refused(EPERM),
        calls: &[
            (libc::SYS_ptrace, 26),
            (libc::SYS_process_vm_readv, 347),
            (libc::SYS_process_vm_writev, 348),
            (libc::SYS_process_madvise, 440),
            (libc::SYS_process_mrelease, 448),
            (libc::SYS_kcmp, 349),
            (libc::SYS_move_pages, 317),
            (libc::SYS_migrate_pages, 294),
        ],
    },
    Group {
        audiences: COMPILERS,
        verdict: Verdict::RefusedUnless(IS_ITSELF, EPERM),
        calls: &[(libc::SYS_prlimit64, 340)],
    },
    // What outlives a process and is no file, and is reached by whoever guesses its number: System V's and POSIX's
    // queues, semaphores and shared memory; keys.
    Group {
        audiences: ALL,
        verdict: Verdict::Refused(EPERM),
        calls: &[
            (NONE as c_long, 117), // ipc: all of System V's in one
            (libc::SYS_shmget, 395),
            (libc::SYS_shmctl, 396),
            (libc::SYS_shmat, 397),
            (libc::SYS_semget, 393),
            (libc::SYS_semctl, 394),
            (libc::SYS_semop, NONE),
            (libc::SYS_semtimedop, 420),
            (libc::SYS_msgget, 399),
            (libc::SYS_msgsnd, 400),
            (libc::SYS_msgrcv, 401),
            (libc::SYS_msgctl, 402),
            (libc::SYS_mq_open, 277),
            (libc::SYS_mq_unlink, 278),
            (libc::SYS_add_key, 286),
            (libc::SYS_request_key, 287),
            (libc::SYS_keyctl, 288),
        ],
    },
    // The kernel's own machinery: programs inside it, its modules, log, clock, names, swap and end.
    Group {
        audiences: ALL,
        verdict: Verdict::Refused(EPERM),
        calls: &[
            (libc::SYS_bpf, 357),
            (libc::SYS_perf_event_open, 336),
            (libc::SYS_init_module, 128),
            (libc::SYS_finit_module, 350),
            (libc::SYS_delete_module, 129),
            (libc::SYS_kexec_load, 283),
            (libc::SYS_reboot, 88),
            (libc::SYS_swapon, 87),
            (libc::SYS_swapoff, 115),
            (libc::SYS_sethostname, 74),
            (libc::SYS_setdomainname, 121),
            (libc::SYS_settimeofday, 79),
            (libc::SYS_clock_settime, 264),
            (libc::SYS_adjtimex, 124),
            (libc::SYS_clock_adjtime, 343),
            (NONE as c_long, 25),  // stime
            (NONE as c_long, 404), // clock_settime64
            (NONE as c_long, 405), // clock_adjtime64
            (libc::SYS_syslog, 103),
            (libc::SYS_acct, 51),
            (libc::SYS_vhangup, 111),
            (libc::SYS_lookup_dcookie, 253),
        ],
    },
    // File systems as administrators see them; and vmsplice, which lends memory to a pipe and keeps it.
    Group {
        audiences: ALL,
        verdict: Verdict::Refused(EPERM),
        calls: &[
            (libc::SYS_chroot, 61),
            (libc::SYS_setns, 346),
            (libc::SYS_fsopen, 430),
            (libc::SYS_fsconfig, 431),
            (libc::SYS_fsmount, 432),
            (libc::SYS_fspick, 433),
            (457, 457), // statmount
            (458, 458), // listmount
            (libc::SYS_quotactl, 131),
            (libc::SYS_quotactl_fd, 443),
            (libc::SYS_name_to_handle_at, 341),
            (libc::SYS_open_by_handle_at, 342),
            (libc::SYS_fanotify_init, 338),
            (libc::SYS_fanotify_mark, 339),
            (libc::SYS_vmsplice, 316),
        ],
    },
    Group {
        audiences: ALL,
        verdict: Verdict::RefusedIf(IS_DEVICE_AT, EPERM),
        calls: &[(libc::SYS_mknodat, 297)],
    },
    // Namespaces and mounts are what chambers are made of. Nobody makes more of them in one.
    Group {
        audiences: INMATES,
        verdict: Verdict::Refused(EPERM),
        calls: &[
            (libc::SYS_unshare, 310),
            (libc::SYS_mount, 21),
            (NONE as c_long, 22), // umount
            (libc::SYS_umount2, 52),
            (libc::SYS_pivot_root, 217),
            (libc::SYS_open_tree, 428),
            (libc::SYS_move_mount, 429),
            (libc::SYS_mount_setattr, 442),
            (467, 467), // open_tree_attr
        ],
    },
    Group {
        audiences: &[Audience::Messenger],
        verdict: Verdict::Refused(EPERM),
        calls: &[(libc::SYS_execve, 11), (libc::SYS_execveat, 358)],
    },
    Group {
        audiences: INMATES,
        verdict: Verdict::RefusedUnless(MAKES_NO_NAMESPACE, EPERM),
        calls: &[(libc::SYS_clone, 120)],
    },
    // A terminal that a daemon was started from would take these for what its user typed.
    Group {
        audiences: ALL,
        verdict: Verdict::RefusedIf(TYPES_FOR_OTHERS, EPERM),
        calls: &[(libc::SYS_ioctl, 54)],
    },
    // No compiler talks to anybody. Not with a pair of its own either: a datagram socket of a pair sends to any address.
    Group {
        audiences: COMPILERS,
        verdict: Verdict::Refused(EACCES),
        calls: &[(libc::SYS_socket, 359), (libc::SYS_socketpair, 360)],
    },
    Group {
        audiences: &[Audience::Daemon],
        verdict: Verdict::RefusedUnless(IS_LOCAL, EACCES),
        calls: &[(libc::SYS_socket, 359), (libc::SYS_socketpair, 360)],
    },
    // So that whoever ends the group ends the compiler.
    Group {
        audiences: &[Audience::Unconfined],
        verdict: Verdict::Refused(EPERM),
        calls: &[(libc::SYS_setsid, 66), (libc::SYS_setpgid, 57)],
    },
    #[cfg(not(target_arch = "x86_64"))]
    Group {
        audiences: ALL,
        verdict: Verdict::Refused(EPERM),
        calls: &[(294, NONE)], // kexec_file_load
    },
    // What only x86 has: ports, segments, the 16-bit mode, and calls from before their better successors.
    #[cfg(target_arch = "x86_64")]
    Group {
        audiences: ALL,
        verdict: Verdict::Refused(EPERM),
        calls: &[
            (libc::SYS_kexec_file_load, NONE),
            (libc::SYS_iopl, 110),
            (libc::SYS_ioperm, 101),
            (libc::SYS_modify_ldt, 123),
            (NONE as c_long, 113), // vm86old
            (NONE as c_long, 166), // vm86
            (libc::SYS_uselib, 86),
            (libc::SYS__sysctl, 149),
        ],
    },
    #[cfg(target_arch = "x86_64")]
    Group {
        audiences: ALL,
        verdict: Verdict::RefusedIf(Argument { index: 1, mask: libc::S_IFMT, values: DEVICES }, EPERM),
        calls: &[(libc::SYS_mknod, 14)],
    },
    // socketcall is all of sockets in one, and its other arguments are out of a filter's sight. 1 is socket, 8 is
    // socketpair.
    #[cfg(target_arch = "x86_64")]
    Group {
        audiences: ALL,
        verdict: Verdict::RefusedIf(Argument { index: 0, mask: WHOLE, values: &[1, 8] }, EACCES),
        calls: &[(NONE as c_long, 102)],
    },
];

/// A kind of program that this machine runs.
pub(super) struct Architecture {
    /// The kernel's name for it (linux/audit.h).
    pub(super) token: u32,
    /// Where the numbers of its calls end.
    pub(super) end: u32,
    /// Which of a call's numbers is its own.
    pub(super) number: fn(&Call) -> i64,
}

/// From 0x4000_0000 on x86_64 has the calls of x32, another numbering that next to nobody's kernel has.
#[cfg(target_arch = "x86_64")]
pub(super) const ARCHITECTURES: &[Architecture] = &[
    Architecture { token: 0xC000_003E, end: 0x4000_0000, number: |call| call.0 },
    Architecture { token: 0x4000_0003, end: u32::MAX, number: |call| i64::from(call.1) },
];
#[cfg(target_arch = "aarch64")]
pub(super) const ARCHITECTURES: &[Architecture] =
    &[Architecture { token: 0xC000_00B7, end: u32::MAX, number: |call| call.0 }];
#[cfg(target_arch = "riscv64")]
pub(super) const ARCHITECTURES: &[Architecture] =
    &[Architecture { token: 0xC000_00F3, end: u32::MAX, number: |call| call.0 }];

/// Nobody has written down the numbers of this architecture.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
pub(super) const REFUSED: &[Group] = &[];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
pub(super) const ARCHITECTURES: &[Architecture] = &[];

/// Offsets in `struct seccomp_data`, in bytes.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;
/// Size of an argument there. Its low word comes first: all known architectures are little-endian.
const ARGUMENT_BYTES: u32 = 8;

/// Rules that are searched one by one. More make programs hardly shorter, and calls slower where the kernel does not
/// remember which numbers are always allowed (before Linux 5.11).
const SEARCHED_MAX: usize = 4;

/// A program for the kernel that judges each system call.
#[derive(Clone, Debug)]
pub struct Filter {
    pub(super) program: Vec<sock_filter>,
}

impl Filter {
    /// The filter for an audience.
    pub fn new(audience: Audience) -> Filter {
        Filter::of(|group| group.audiences.contains(&audience))
    }

    /// The same for who starts behind another audience's filter: what that refuses is left out, which makes half of it.
    /// Installing a filter takes as long as it has instructions.
    pub fn behind(outer: Audience, audience: Audience) -> Filter {
        Filter::of(|group| group.audiences.contains(&audience) && !group.audiences.contains(&outer))
    }

    fn of(is_wanted: impl Fn(&Group) -> bool) -> Filter {
        let mut program = Backwards::default();
        // A program of another architecture, on which nobody could tell what it asks for.
        let mut next = program.answer(libc::SECCOMP_RET_KILL_PROCESS);
        for architecture in ARCHITECTURES.iter().rev() {
            let found = program.judge(&is_wanted, architecture);
            // The next one is farther away than a condition can jump.
            let distance = program.distance(next) as u32;
            let other = program.write(libc::BPF_JMP | libc::BPF_JA, distance);
            next = program.jump(libc::BPF_JEQ, architecture.token, found, other);
        }
        program.load(ARCHITECTURE);
        program.instructions.reverse();
        let program = program.instructions;
        Filter { program }
    }

    /// Whether this kernel takes filters, and this architecture's system calls are known.
    pub fn is_available() -> bool {
        // Nothing is installed, because there is no program; only who knows how to looks for one.
        let flags = libc::SECCOMP_FILTER_FLAG_TSYNC;
        // SAFETY: the kernel reads from the null pointer, and fails.
        let result = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, std::ptr::null::<u8>())
        };
        let error = io::Error::last_os_error();
        cfg!(target_endian = "little")
            && !ARCHITECTURES.is_empty()
            && result < 0
            && error.raw_os_error() == Some(libc::EFAULT)
    }

    /// Holds all threads of this process, and all it starts from now on, to the filter, for good. The thread that asks
    /// must have given up new privileges (PR_SET_NO_NEW_PRIVS), and the others have it too afterwards.
    pub fn apply(&self) -> io::Result<()> {
        // SAFETY: without preconditions for memory.
        match unsafe { self.install(libc::SECCOMP_FILTER_FLAG_TSYNC) } {
            0 => Ok(()),
            error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
            thread => Err(io::Error::other(format!("thread {thread} has a system call filter of its own"))),
        }
    }

    /// The same for this thread alone, by system calls only: 0, or an errno.
    ///
    /// # Safety
    /// Only in a child between clone and exec, whose parent waits: the two may share errno.
    pub unsafe fn apply_here(&self) -> c_int {
        // SAFETY: by the contract above.
        unsafe { -self.install(0) }
    }

    /// 0, a negative errno, or the thread that could not be held to the filter.
    ///
    /// # Safety
    /// Allocates nothing and locks nothing; changes errno.
    unsafe fn install(&self, flags: libc::c_ulong) -> c_int {
        let program =
            libc::sock_fprog { len: self.program.len() as u16, filter: self.program.as_ptr().cast_mut() };
        // Before Linux 5.16 a filter turns off speculation past stores unless told not to, which slows down a compiler
        // and protects secrets that it does not have. Before 4.17 the flag is unknown, and so was the leak.
        for more in [libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW, 0] {
            // SAFETY: the kernel reads `len` instructions, which are alive for the call, and writes none.
            unsafe {
                let (call, mode) = (libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER);
                let result = libc::syscall(call, mode, flags | more, &raw const program);
                if result >= 0 {
                    return result as c_int;
                }
                let error = *libc::__errno_location();
                if more == 0 || error != libc::EINVAL {
                    return -error;
                }
            }
        }
        -libc::EINVAL
    }
}

/// A program that is written from its end to its beginning, because it only jumps forward: where to is known then.
#[derive(Default)]
struct Backwards {
    instructions: Vec<sock_filter>,
}

/// An instruction that is written.
#[derive(Clone, Copy)]
struct Label(usize);

/// A rule for a number: what to do about it.
struct Rule {
    number: u32,
    label: Label,
}

impl Backwards {
    fn write(&mut self, code: u32, k: u32) -> Label {
        self.instructions.push(sock_filter { code: code as u16, jt: 0, jf: 0, k });
        Label(self.instructions.len() - 1)
    }

    fn load(&mut self, offset: u32) -> Label {
        self.write(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
    }

    /// An answer. Each is written once for each architecture, which all its rules share.
    fn answer(&mut self, action: u32) -> Label {
        self.write(libc::BPF_RET | libc::BPF_K, action)
    }

    fn jump(&mut self, condition: u32, k: u32, met: Label, missed: Label) -> Label {
        let to =
            |label| u8::try_from(self.distance(label)).expect("BUG: an architecture's rules are too long");
        let (jt, jf) = (to(met), to(missed));
        let code = (libc::BPF_JMP | condition | libc::BPF_K) as u16;
        self.instructions.push(sock_filter { code, jt, jf, k });
        Label(self.instructions.len() - 1)
    }

    /// The number of instructions between a label and the instruction that comes next.
    fn distance(&self, label: Label) -> usize {
        self.instructions.len() - 1 - label.0
    }

    /// All that one architecture's calls are held to.
    fn judge(&mut self, is_wanted: impl Fn(&Group) -> bool, architecture: &Architecture) -> Label {
        let allowed = self.answer(libc::SECCOMP_RET_ALLOW);
        let refusals =
            [EPERM, EACCES, ENOSYS].map(|errno| self.answer(libc::SECCOMP_RET_ERRNO | errno as u32));
        let refused = |errno| match errno {
            EACCES => refusals[1],
            ENOSYS => refusals[2],
            _ => refusals[0],
        };
        let mut rules = Vec::new();
        for group in REFUSED.iter().filter(|group| is_wanted(group)) {
            let label = match group.verdict {
                Verdict::Refused(errno) => refused(errno),
                Verdict::RefusedIf(argument, errno) => self.look_at(argument, refused(errno), allowed),
                Verdict::RefusedUnless(argument, errno) => self.look_at(argument, allowed, refused(errno)),
            };
            let numbers = group.calls.iter().map(|call| (architecture.number)(call));
            rules.extend(numbers.flat_map(u32::try_from).map(|number| Rule { number, label }));
        }
        rules.sort_by_key(|rule| rule.number);
        let found = self.find(&rules, allowed);
        self.jump(libc::BPF_JGE, architecture.end, refused(ENOSYS), found);
        self.load(NUMBER)
    }

    fn look_at(&mut self, argument: Argument, met: Label, missed: Label) -> Label {
        let mut next = missed;
        for value in argument.values {
            next = self.jump(libc::BPF_JEQ, *value, met, next);
        }
        self.write(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, argument.mask);
        self.load(ARGUMENTS + ARGUMENT_BYTES * argument.index)
    }

    /// Finds the rule for the loaded number: by halves, and the last few one by one, which makes the shortest program.
    fn find(&mut self, rules: &[Rule], otherwise: Label) -> Label {
        if rules.len() <= SEARCHED_MAX {
            let equals = |next, rule: &Rule| self.jump(libc::BPF_JEQ, rule.number, rule.label, next);
            return rules.iter().rev().fold(otherwise, equals);
        }
        let (low, high) = rules.split_at(rules.len() / 2);
        let (above, below) = (self.find(high, otherwise), self.find(low, otherwise));
        self.jump(libc::BPF_JGE, high[0].number, above, below)
    }
}
