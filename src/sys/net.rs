//! Sockets: connecting to the first of several addresses that answers, listening, and the options jobs need.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

/// Connections waiting to be accepted; the kernel cuts it to net.core.somaxconn.
const LISTEN_BACKLOG: i32 = 4096;
/// Silence after which the kernel asks whether the peer still lives.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
/// Time between two such questions; three unanswered ones end the connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Unanswered questions before the peer counts as dead.
const KEEPALIVE_RETRIES: u32 = 3;
/// How long sent bytes may stay unacknowledged before the peer counts as dead.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// Connections being made to several addresses at once; the first that succeeds is kept.
#[derive(Debug)]
pub struct Connecting {
    attempts: Vec<(SocketAddr, Socket)>,
    last_error: io::Error,
}

impl Connecting {
    /// Starts connecting to every address and returns at once.
    pub fn start(addresses: &[SocketAddr]) -> Connecting {
        let mut connecting =
            Connecting { attempts: Vec::new(), last_error: io::ErrorKind::AddrNotAvailable.into() };
        for address in addresses {
            match begin(*address) {
                Ok(socket) => connecting.attempts.push((*address, socket)),
                Err(error) => connecting.last_error = error,
            }
        }
        connecting
    }

    /// Waits for the first connection until `deadline`. The stream is blocking again.
    pub fn finish(mut self, deadline: Instant) -> io::Result<TcpStream> {
        while !self.attempts.is_empty() {
            let fds: Vec<_> =
                self.attempts.iter().map(|(_, socket)| (socket.as_fd(), Ready::Writable)).collect();
            let ready = poll(&fds, Some(deadline))?;
            if ready.is_empty() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
            }
            for index in ready.into_iter().rev() {
                let (_, socket) = self.attempts.remove(index);
                match socket.take_error()? {
                    None => {
                        socket.set_nonblocking(false)?;
                        return Ok(socket.into());
                    }
                    Some(error) => self.last_error = error,
                }
            }
        }
        Err(self.last_error)
    }
}

/// Begins to connect and returns at once; the socket is writable when it is connected or has failed.
pub fn begin_connecting(address: SocketAddr) -> io::Result<TcpStream> {
    begin(address).map(Into::into)
}

fn begin(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    match socket.connect(&address.into()) {
        Ok(()) => Ok(socket),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// Makes a dead peer noticeable in seconds, without bounding how long a live one may think.
pub fn detect_dead_peer(fd: BorrowedFd<'_>) -> io::Result<()> {
    let socket = SockRef::from(&fd);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))
}

/// Bounds the silence of a blocking socket: a read or write that makes no progress for so long fails.
pub fn set_silence_limit(fd: BorrowedFd<'_>, limit: Duration) -> io::Result<()> {
    let socket = SockRef::from(&fd);
    socket.set_read_timeout(Some(limit))?;
    socket.set_write_timeout(Some(limit))
}

/// Writes some bytes to a socket or pipe, without a signal if nobody reads them.
pub fn write(to: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    retry(|| SockRef::from(&to).send_with_flags(bytes, libc::MSG_NOSIGNAL), || write_plainly(to, bytes))
}

/// Like [`write`], for bytes that more will follow: the kernel may wait to fill its packets.
pub fn write_more(to: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_MORE | libc::MSG_NOSIGNAL;
    retry(|| SockRef::from(&to).send_with_flags(bytes, flags), || write_plainly(to, bytes))
}

/// Most parts of one message (IOV_MAX).
const PARTS_MAX: usize = 1024;

/// Writes all parts to a socket in order, in as few messages as they fit into. `moved` is told how many bytes each took,
/// and may end it.
pub fn write_parts(
    to: BorrowedFd<'_>,
    mut parts: &mut [IoSlice<'_>],
    mut moved: impl FnMut(usize) -> io::Result<()>,
) -> io::Result<()> {
    // An empty part at the end would look like a socket that takes nothing.
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        let count = parts.len().min(PARTS_MAX);
        let more = if count < parts.len() { libc::MSG_MORE } else { 0 };
        match SockRef::from(&to).send_vectored_with_flags(&parts[..count], libc::MSG_NOSIGNAL | more) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                IoSlice::advance_slices(&mut parts, written);
                moved(written)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Connects to a local socket. The kernel lets us wait in its queue up to `limit`; every later read or write may
/// take `silence`.
pub fn connect_local(path: &Path, limit: Duration, silence: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(limit))?;
    let address = SockAddr::unix(path)?;
    // A process that was stopped while it waited is interrupted when it goes on, with or without a handler.
    loop {
        match socket.connect(&address) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result?,
        }
    }
    socket.set_read_timeout(Some(silence))?;
    Ok(socket.into())
}

/// Reads some bytes from a socket or pipe; 0 is the end.
pub fn read(from: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        // SAFETY: the buffer is writable and as long as said.
        let count = unsafe { libc::read(from.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
        if count >= 0 {
            return Ok(count as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Tries a socket call again when a signal interrupted it, and falls back to the call for pipes.
fn retry(
    socket_call: impl Fn() -> io::Result<usize>,
    pipe_call: impl Fn() -> io::Result<usize>,
) -> io::Result<usize> {
    loop {
        match socket_call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => match pipe_call() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            },
            result => return result,
        }
    }
}

fn write_plainly(to: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the buffer is readable and as long as said.
    let count = unsafe { libc::write(to.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
    if count < 0 { Err(io::Error::last_os_error()) } else { Ok(count as usize) }
}

/// Copies up to `count` bytes of a file from `offset` into a socket or pipe inside the kernel (sendfile(2)).
pub fn send_file(to: BorrowedFd<'_>, file: BorrowedFd<'_>, offset: u64, count: usize) -> io::Result<usize> {
    let mut position = offset as libc::off_t;
    // SAFETY: both descriptors are open and `position` is writable for the call.
    let sent = unsafe { libc::sendfile(to.as_raw_fd(), file.as_raw_fd(), &mut position, count) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// Opens a listening socket. The IPv6 wildcard also takes IPv4 clients.
pub fn listen(address: SocketAddr, defer_accept: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    if defer_accept {
        let seconds: libc::c_int = 1;
        // SAFETY: the value is an int of the length said. The option only saves a wake-up, so failure is no matter.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_DEFER_ACCEPT,
                (&raw const seconds).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
    }
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket.into())
}

/// Whether the failure of an accept is one client's, who gave up while it waited, or a signal: the next may succeed at once.
pub fn concerns_one_client(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
}

/// The wildcard address: every IPv6 and IPv4 address of the machine, or IPv4 alone where there is no IPv6.
pub fn listen_everywhere(port: u16, defer_accept: bool) -> io::Result<TcpListener> {
    match listen(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), defer_accept) {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EINVAL)
            ) =>
        {
            listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), defer_accept)
        }
        result => result,
    }
}

/// Opens a listening local socket, for this user only, at a path where there is nothing yet. A path that is too long is
/// [`io::ErrorKind::InvalidInput`].
pub fn listen_locally(path: &Path) -> io::Result<UnixListener> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&address)?;
    // Before anybody can connect.
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket.into())
}

/// A connected pair of local sockets, one end for a child's standard input and output.
pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
    UnixStream::pair()
}

/// Room for the control message that carries one descriptor: 24 bytes on 64-bit machines. `u64` aligns it.
type DescriptorMessage = [u64; 8];

/// Writes some bytes to a local socket; a descriptor travels with the first of them (SCM_RIGHTS). The receiver gets
/// one of its own.
pub fn send_with_descriptor(
    to: BorrowedFd<'_>,
    bytes: &[u8],
    descriptor: BorrowedFd<'_>,
) -> io::Result<usize> {
    let mut control: DescriptorMessage = [0; 8];
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: the message points to a part and a control buffer that live through the calls; the buffer has room for
    // a header and one descriptor, so the header pointer is valid. The kernel only reads the bytes.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(size_of::<libc::c_int>() as u32) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<libc::c_int>() as u32) as _;
        libc::CMSG_DATA(header).cast::<libc::c_int>().write_unaligned(descriptor.as_raw_fd());
        loop {
            let count = libc::sendmsg(to.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL);
            if count >= 0 {
                return Ok(count as usize);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

/// Reads some bytes from a local socket, and the descriptor that came with them, if one did; 0 bytes are the end.
/// Of several descriptors, which nobody sends, the first is kept.
pub fn recv_with_descriptor(from: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut control: DescriptorMessage = [0; 8];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: the message points to a part and a control buffer that live through the calls; the kernel says how much
    // of the buffer it has filled, and the CMSG macros stay within that. A descriptor in it is new, and ours.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of::<DescriptorMessage>() as _;
        let count = loop {
            let count = libc::recvmsg(from.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC);
            if count >= 0 {
                break count as usize;
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        };
        let mut received = None;
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if ((*header).cmsg_level, (*header).cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                let bytes = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                for index in 0..bytes / size_of::<libc::c_int>() {
                    let fd = libc::CMSG_DATA(header).cast::<libc::c_int>().add(index).read_unaligned();
                    let descriptor = OwnedFd::from_raw_fd(fd);
                    received.get_or_insert(descriptor);
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
        Ok((count, received))
    }
}

/// The user whose process is at the other end of a local socket (SO_PEERCRED), by number.
pub fn peer_user(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut who = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the value is writable and as long as said.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut who).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(who.uid) } else { Err(io::Error::last_os_error()) }
}

/// Whether a descriptor is a socket, and the address of its peer if that is an internet one.
pub fn peer_of(fd: BorrowedFd<'_>) -> Option<Option<SocketAddr>> {
    let socket = SockRef::from(&fd);
    socket.r#type().ok()?;
    Some(socket.peer_addr().ok().and_then(|address| address.as_socket()))
}

/// What a socket is that somebody else has opened.
#[derive(Debug)]
pub enum Foreign {
    /// It listens for TCP clients.
    Listener(TcpListener),
    /// It is a client's connection.
    Connection(OwnedFd),
    /// Neither.
    Other,
}

/// Finds out, and lets a listener not wait.
pub fn foreign(fd: OwnedFd) -> io::Result<Foreign> {
    let socket = SockRef::from(&fd);
    let is_stream = socket.r#type().is_ok_and(|kind| kind == Type::STREAM);
    if !is_stream || socket.local_addr()?.as_socket().is_none() {
        return Ok(Foreign::Other);
    }
    if !socket.is_listener()? {
        return Ok(Foreign::Connection(fd));
    }
    socket.set_nonblocking(true)?;
    Ok(Foreign::Listener(fd.into()))
}

/// Whether reads and writes return at once when they would wait.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: F_GETFL and F_SETFL have no memory preconditions.
    unsafe {
        let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
        if flags < 0 || libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// What to wait for on a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Bytes, an end of file or an error can be read.
    Readable,
    /// Bytes can be written, or an error has come.
    Writable,
}

/// Waits until one of the descriptors is ready or the deadline has passed; returns the indexes of the ready ones.
pub fn poll(fds: &[(BorrowedFd<'_>, Ready)], deadline: Option<Instant>) -> io::Result<Vec<usize>> {
    let mut entries: Vec<libc::pollfd> = fds
        .iter()
        .map(|(fd, ready)| libc::pollfd {
            fd: fd.as_raw_fd(),
            events: if *ready == Ready::Readable { libc::POLLIN } else { libc::POLLOUT },
            revents: 0,
        })
        .collect();
    loop {
        let timeout = match deadline {
            None => -1,
            // Rounded up, so that the loop does not spin through the last millisecond.
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                left.as_micros().div_ceil(1000).min(i32::MAX as u128) as i32
            }
        };
        // SAFETY: the array is alive and as long as said.
        let count = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, timeout) };
        if count >= 0 {
            return Ok((0..entries.len()).filter(|index| entries[*index].revents != 0).collect());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn the_first_address_that_answers_wins() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let good = listener.local_addr().unwrap();
        let refused = {
            let closed = listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
            closed.local_addr().unwrap()
        };
        let mut stream = Connecting::start(&[refused, good]).finish(soon()).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        let (mut server, _) = loop {
            match listener.accept() {
                Ok(accepted) => break accepted,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        };
        server.set_nonblocking(false).unwrap();
        stream.write_all(b"hello").unwrap();
        let mut text = [0; 5];
        server.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"hello");
    }

    #[test]
    fn a_refused_connection_says_so() {
        let address = listen("127.0.0.1:0".parse().unwrap(), false).unwrap().local_addr().unwrap();
        let error = Connecting::start(&[address]).finish(soon()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(Connecting::start(&[]).finish(soon()).is_err());
    }

    #[test]
    fn the_wildcard_takes_ipv4_clients() {
        let listener = listen_everywhere(0, false).unwrap();
        let port = listener.local_addr().unwrap().port();
        Connecting::start(&[SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)]).finish(soon()).unwrap();
    }

    #[test]
    fn parts_arrive_in_order_however_many_and_long() {
        let (mut one, other) = pair().unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            one.read_to_end(&mut bytes).map(|_| bytes)
        });
        let texts: Vec<Vec<u8>> = (0..3000_usize).map(|number| vec![number as u8; number % 700]).collect();
        let mut parts: Vec<IoSlice> = texts.iter().map(|text| IoSlice::new(text)).collect();
        write_parts(other.as_fd(), &mut parts, |_| Ok(())).unwrap();
        write_parts(other.as_fd(), &mut [IoSlice::new(b""), IoSlice::new(b"")], |_| Ok(())).unwrap();
        drop(other);
        assert!(reader.join().unwrap().unwrap() == texts.concat());
    }

    #[test]
    fn a_descriptor_travels_with_the_first_byte() {
        let (one, other) = pair().unwrap();
        let mut file = crate::sys::temp::anonymous("passed").unwrap();
        file.write_all(b"content").unwrap();
        assert_eq!(send_with_descriptor(one.as_fd(), b"hello", file.as_fd()).unwrap(), 5);
        let mut buffer = [0; 2];
        let (count, received) = recv_with_descriptor(other.as_fd(), &mut buffer).unwrap();
        assert_eq!((count, &buffer), (2, b"he"));
        let mut received = std::fs::File::from(received.expect("a descriptor"));
        assert_eq!(crate::sys::temp::read_back(&mut received, 100).unwrap(), b"content");
        drop(one);
        let mut buffer = [0; 9];
        let (count, received) = recv_with_descriptor(other.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..count], received.is_none()), (b"llo".as_slice(), true));
        assert_eq!(recv_with_descriptor(other.as_fd(), &mut buffer).unwrap().0, 0);
    }

    #[test]
    fn a_peer_is_known_by_its_user() {
        use std::os::unix::fs::MetadataExt;
        let (one, _other) = pair().unwrap();
        assert_eq!(peer_user(one.as_fd()).unwrap(), std::fs::metadata("/proc/self").unwrap().uid());
    }

    #[test]
    fn poll_reports_the_ready_ones_and_keeps_its_deadline() {
        let (mut one, other) = pair().unwrap();
        let idle = [(other.as_fd(), Ready::Readable)];
        assert!(poll(&idle, Some(Instant::now() + Duration::from_millis(5))).unwrap().is_empty());
        one.write_all(b"x").unwrap();
        assert_eq!(poll(&idle, None).unwrap(), [0]);
    }
}
