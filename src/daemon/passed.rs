//! The sockets that the service manager has opened for this server (socket activation), told apart.
//!
//! Knows sockets and the names they were given; not what is done with them.

use std::fmt;
use std::net::TcpListener;
use std::os::fd::OwnedFd;

use crate::sys::net::{self, Foreign};

/// The name (FileDescriptorName=) of the socket for statistics. Those of any other name are for jobs.
const STATISTICS: &str = "stats";

/// What was passed.
#[derive(Debug, Default)]
pub struct Passed {
    /// Where jobs come.
    pub listeners: Vec<TcpListener>,
    /// Where statistics are asked for.
    pub statistics: Vec<TcpListener>,
    /// A client's connection, of a manager that accepts by itself (Accept=yes).
    pub connection: Option<OwnedFd>,
}

/// Why something that was passed is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedError(String);

impl fmt::Display for PassedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Passed {
    /// Tells the descriptors apart, each of which has the name at its place in `names`, if there is one.
    pub fn sort(descriptors: Vec<Option<OwnedFd>>, names: &[String]) -> Result<Passed, PassedError> {
        let mut passed = Passed::default();
        for (index, descriptor) in descriptors.into_iter().enumerate() {
            let name = names.get(index).map_or("", String::as_str);
            let bad = |why: &str| {
                PassedError(format!("socket {} ({name:?}) of the service manager: {why}", index + 1))
            };
            let found = net::foreign(descriptor.ok_or_else(|| bad("not open"))?);
            match found.map_err(|error| bad(&error.to_string()))? {
                Foreign::Listener(listener) if name == STATISTICS => passed.statistics.push(listener),
                Foreign::Listener(listener) => passed.listeners.push(listener),
                Foreign::Connection(_) if name == STATISTICS => {
                    return Err(bad("want a listening socket for statistics (Accept=no)"));
                }
                Foreign::Connection(connection) if passed.connection.is_none() => {
                    passed.connection = Some(connection);
                }
                Foreign::Connection(_) => return Err(bad("want one connection")),
                Foreign::Other => return Err(bad("not a TCP socket")),
            }
        }
        if passed.connection.is_some() && !passed.listeners.is_empty() {
            return Err(PassedError(
                "the service manager has passed a connection and listening sockets: want one kind (Accept=)"
                    .into(),
            ));
        }
        Ok(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::net::{TcpStream, UdpSocket};
    use std::os::unix::net::UnixListener;

    #[test]
    fn sockets_are_told_apart_by_kind_and_name() {
        let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (jobs, statistics) = (listener(), listener());
        let addresses = (jobs.local_addr().unwrap(), statistics.local_addr().unwrap());
        let passed = Passed::sort(
            vec![Some(jobs.into()), Some(statistics.into()), Some(listener().into())],
            &["distccd.socket".into(), "stats".into()],
        )
        .unwrap();
        assert_eq!(passed.listeners.len(), 2);
        assert_eq!(passed.listeners[0].local_addr().unwrap(), addresses.0);
        assert_eq!(passed.statistics[0].local_addr().unwrap(), addresses.1);
        assert!(passed.connection.is_none());
        assert!(passed.listeners[0].accept().is_err(), "the loop must not wait in accept");

        let there = listener();
        let connection = TcpStream::connect(there.local_addr().unwrap()).unwrap();
        let passed = Passed::sort(vec![Some(connection.into())], &["connection".into()]).unwrap();
        assert!(passed.connection.is_some() && passed.listeners.is_empty());
    }

    #[test]
    fn what_is_of_no_use_is_told_by_number_and_name() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = || OwnedFd::from(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let dir = crate::sys::temp::TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let unix = UnixListener::bind(dir.path().join("socket")).unwrap();
        for (descriptors, why) in [
            (vec![None], "socket 1 (\"jobs\") of the service manager: not open"),
            (vec![Some(File::open("/dev/null").unwrap().into())], "not a TCP socket"),
            (vec![Some(UdpSocket::bind("127.0.0.1:0").unwrap().into())], "not a TCP socket"),
            (vec![Some(unix.into())], "not a TCP socket"),
            (
                vec![Some(connection()), Some(connection())],
                "socket 2 (\"stats\") of the service manager: want a listening",
            ),
            (vec![Some(connection()), Some(listener.try_clone().unwrap().into())], ""),
        ] {
            let sorted = Passed::sort(descriptors, &["jobs".into(), "stats".into()]);
            match why {
                "" => assert!(sorted.is_ok(), "{sorted:?}"),
                why => {
                    assert!(sorted.as_ref().is_err_and(|error| error.0.contains(why)), "{why}: {sorted:?}")
                }
            }
        }
        let two = vec![Some(connection()), Some(listener.try_clone().unwrap().into())];
        assert!(Passed::sort(two, &[]).unwrap_err().0.contains("want one kind"));
    }
}
