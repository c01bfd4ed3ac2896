//! The file of `--allow-file`: who may use this server, a rule to a line.
//!
//! Knows the file and what was in it at the start; not who asks for it to be read again. A server that runs cannot look
//! names up: it has no network but its sockets, and must not wait. So a name means the addresses that it had at the
//! start, and a new one needs another start.

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::PathBuf;

use crate::daemon::access::{AccessList, RuleError, look_up};
use crate::sys::open;

/// The longest file that is read, in bytes: some ten thousand networks, each of which every client is compared with.
const BYTES_MAX: u64 = 1 << 20;

/// The file, and the rules that hold beside it.
#[derive(Debug)]
pub struct AllowFile {
    path: PathBuf,
    /// What `--allow` and `--allow-private` say.
    options: AccessList,
    /// The names of the first reading.
    names: HashMap<String, Vec<IpAddr>>,
}

impl AllowFile {
    /// Reads a file for the first time, names included, each of which may take some seconds. The error names file and line.
    pub fn first(path: PathBuf, options: AccessList) -> Result<(AllowFile, AccessList), String> {
        let mut file = AllowFile { path, options, names: HashMap::new() };
        let mut names = HashMap::new();
        let list = file.read(|host| {
            let addresses = look_up(host)?;
            names.insert(host.to_string(), addresses.clone());
            Ok(addresses)
        })?;
        file.names = names;
        Ok((file, list))
    }

    /// Reads it again, without waiting for anything. The error names file and line.
    pub fn again(&self) -> Result<AccessList, String> {
        self.read(|host| match (self.names.get(host), host.parse::<IpAddr>()) {
            (_, Ok(address)) => Ok(vec![address]),
            (Some(addresses), _) => Ok(addresses.clone()),
            (None, Err(_)) => Err(io::Error::other(
                "no address, and a name that was not in the file at the start; restart distccd to look it up",
            )),
        })
    }

    fn read(&self, mut find: impl FnMut(&str) -> io::Result<Vec<IpAddr>>) -> Result<AccessList, String> {
        let text = self.text().map_err(|error| format!("--allow-file {}: {error}", self.path.display()))?;
        let mut list = self.options.clone();
        for (index, line) in text.lines().enumerate() {
            let rule = line.split('#').next().unwrap_or_default().trim();
            if rule.is_empty() {
                continue;
            }
            let at = |why: String| format!("{}:{}: {why}", self.path.display(), index + 1);
            if rule.contains(char::is_whitespace) {
                return Err(at(format!("{rule}: want one address, network or name to a line")));
            }
            list.allow_found(rule, &mut find).map_err(|error: RuleError| at(error.without_option()))?;
        }
        Ok(list)
    }

    fn text(&self) -> io::Result<String> {
        let mut bytes = Vec::new();
        let file = open::without_waiting(&self.path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a file"));
        }
        file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(io::Error::other(format!("longer than {BYTES_MAX} bytes")));
        }
        String::from_utf8(bytes).map_err(|_| io::Error::other("not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::temp::TempDir;
    use std::fs;

    fn file_with(text: &str) -> (TempDir, PathBuf) {
        let dir = TempDir::create(&std::env::temp_dir(), "distcc_test", false).unwrap();
        let path = dir.path().join("clients.allow");
        fs::write(&path, text).unwrap();
        (dir, path)
    }

    fn permits(list: &AccessList, client: &str) -> bool {
        list.permits(client.parse().unwrap())
    }

    #[test]
    fn rules_stand_in_lines_among_comments() {
        let (_dir, path) = file_with(
            "# build machines\n\n10.1.0.0/16\t# the lab\r\n  2001:db8::/32\nlocalhost\n#192.0.2.1\n",
        );
        let mut options = AccessList::default();
        options.allow("198.51.100.7").unwrap();
        let (file, list) = AllowFile::first(path, options).unwrap();
        for (client, expected) in [
            ("10.1.2.3", true),
            ("10.2.2.3", false),
            ("2001:db8::7", true),
            ("127.0.0.1", true),
            ("192.0.2.1", false),
            ("198.51.100.7", true),
        ] {
            assert_eq!(permits(&list, client), expected, "{client}");
        }
        assert_eq!(file.again().unwrap(), list, "names are remembered");
    }

    #[test]
    fn an_empty_file_allows_nobody() {
        let (_dir, path) = file_with("# nobody yet\n");
        let (_, list) = AllowFile::first(path, AccessList::default()).unwrap();
        assert!(!permits(&list, "127.0.0.1"));
    }

    #[test]
    fn mistakes_are_told_with_file_and_line() {
        for (text, line, cause) in [
            ("10.0.0.1\n10.0.0.0/33\n", 2, "10.0.0.0/33: want a prefix length from 0 to 32"),
            ("\n\nno-such-host.invalid # gone\n", 3, "no-such-host.invalid: "),
            ("10.0.0.1 10.0.0.2\n", 1, "one address, network or name to a line"),
            ("--allow=10.0.0.1\n", 1, "--allow=10.0.0.1: "),
        ] {
            let (_dir, path) = file_with(text);
            let error = AllowFile::first(path.clone(), AccessList::default()).unwrap_err();
            assert!(error.starts_with(&format!("{}:{line}: ", path.display())), "{error}");
            assert!(error.contains(cause), "{error}");
        }
        let (dir, path) = file_with("\u{fc}");
        for (make, cause) in [
            (Box::new(|| fs::write(&path, b"\xff\n").unwrap()) as Box<dyn Fn()>, "not UTF-8"),
            (Box::new(|| fs::write(&path, vec![b'\n'; (1 << 20) + 1]).unwrap()), "longer than"),
            (Box::new(|| fs::remove_file(&path).unwrap()), "No such file"),
            (Box::new(|| fs::create_dir(&path).unwrap()), "not a file"),
        ] {
            make();
            let error = AllowFile::first(path.clone(), AccessList::default()).unwrap_err();
            assert!(error.starts_with(&format!("--allow-file {}: ", path.display())), "{error}");
            assert!(error.contains(cause), "{error}");
        }
        drop(dir);
    }

    #[test]
    fn a_name_that_is_new_needs_another_start() {
        let (_dir, path) = file_with("localhost\n");
        let (file, _) = AllowFile::first(path.clone(), AccessList::default()).unwrap();
        fs::write(&path, "localhost/32\n192.0.2.0/24\n").unwrap();
        // Of an IPv6 address, 32 bits are not all; which addresses localhost has is this machine's affair.
        assert!(permits(&file.again().unwrap(), "192.0.2.9"));
        fs::write(&path, "localhost\nip6-localhost\n").unwrap();
        let error = file.again().unwrap_err();
        assert!(error.contains(":2: ip6-localhost") && error.contains("restart distccd"), "{error}");
    }
}
