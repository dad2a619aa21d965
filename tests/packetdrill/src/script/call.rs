//! Socket calls of a script.

use super::player::{LOCAL_PORT, REMOTE, REMOTE_PORT};
use crate::sockets::{Errno, Sockets};
use crate::world::LOCAL;
use libc::c_int;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// `name(arguments) = result`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    name: String,
    arguments: Vec<String>,
    result: Result<c_int, Errno>,
}

/// Descriptors, by the number that the script gives them.
pub(super) type Descriptors = BTreeMap<c_int, c_int>;

impl Call {
    pub fn read(text: &str) -> Result<Call, String> {
        let wrong = || format!("{text} is not name(arguments) = result");
        let (call, result) = text.rsplit_once(" = ").ok_or_else(wrong)?;
        let (name, arguments) =
            call.trim().strip_suffix(')').and_then(|call| call.split_once('(')).ok_or_else(wrong)?;
        let words: Vec<&str> = result.split_whitespace().collect();
        let result = match words[..] {
            ["-1", name, ..] => Err(Errno(constant(name)?)),
            [value] => Ok(constant(value)?),
            _ => return Err(wrong()),
        };
        Ok(Call { name: name.into(), arguments: split(arguments), result })
    }

    /// Makes the call and compares.
    pub fn make(&self, sockets: &mut Sockets, descriptors: &mut Descriptors) -> Result<(), String> {
        let result = self.perform(sockets, descriptors)?;
        match (self.name.as_str(), result, self.result) {
            ("socket" | "accept", Ok(fd), Ok(named)) => {
                descriptors.insert(named, fd);
                Ok(())
            }
            (_, result, expected) if result == expected => Ok(()),
            (name, result, expected) => Err(format!("{name} must be {}, and is {}", text(expected), text(result))),
        }
    }

    fn perform(&self, sockets: &mut Sockets, descriptors: &Descriptors) -> Result<Result<c_int, Errno>, String> {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        if let ("socket", ["...", "SOCK_STREAM", "IPPROTO_TCP"]) = (self.name.as_str(), &arguments[..]) {
            return Ok(sockets.open(libc::AF_INET, libc::SOCK_STREAM));
        }
        let named = constant(arguments.first().copied().unwrap_or_default())?;
        let fd = *descriptors.get(&named).ok_or_else(|| format!("no descriptor {named} is known"))?;
        let done = |result: Result<(), Errno>| result.map(|()| 0);
        Ok(match (self.name.as_str(), &arguments[1..]) {
            ("bind", ["...", "..."]) => done(sockets.bind(fd, SocketAddr::new(IpAddr::V4(LOCAL), LOCAL_PORT))),
            ("listen", [_]) => done(sockets.listen(fd)),
            ("accept", ["...", "..."]) => sockets.accept(fd).map(|(fd, _)| fd),
            ("connect", ["...", "..."]) => done(sockets.connect(fd, SocketAddr::new(IpAddr::V4(REMOTE), REMOTE_PORT))),
            ("read", ["...", count]) => {
                sockets.read(fd, &mut vec![0; constant(count)? as usize]).map(|count| count as c_int)
            }
            ("write", ["...", count]) => {
                sockets.write(fd, &vec![b'x'; constant(count)? as usize]).map(|count| count as c_int)
            }
            ("close", []) => done(sockets.close(fd)),
            ("fcntl", [command, _]) => sockets.control(fd, constant(command)?),
            ("setsockopt", [level, name, values, _]) => {
                done(sockets.set_option(fd, constant(level)?, constant(name)?, &list(values)?))
            }
            ("getsockopt", [level, name, expected, _]) => match sockets.option(fd, constant(level)?, constant(name)?) {
                Ok(value) if list(expected)? != [value] => {
                    return Err(format!("{name} must be {expected}, and is {}", text(Err(Errno(value)))));
                }
                result => result.map(|_| 0),
            },
            (name, _) => return Err(format!("{name} with these arguments is unknown here")),
        })
    }
}

/// Arguments are parted by commas, but not within brackets.
fn split(text: &str) -> Vec<String> {
    let mut depth = 0;
    let parts = text.split(|letter| {
        match letter {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            _ => {}
        }
        letter == ',' && depth == 0
    });
    parts.map(|part| part.trim().to_string()).filter(|part| !part.is_empty()).collect()
}

/// `[value]` or `{name=value, name=value}`.
fn list(text: &str) -> Result<Vec<c_int>, String> {
    let inner = text.trim_matches(['[', ']', '{', '}']);
    inner.split(',').map(|part| constant(part.rsplit('=').next().unwrap_or(part).trim())).collect()
}

const CONSTANTS: [(&str, c_int); 14] = [
    ("SOL_SOCKET", libc::SOL_SOCKET),
    ("SO_ERROR", libc::SO_ERROR),
    ("SO_LINGER", libc::SO_LINGER),
    ("SO_RCVBUF", libc::SO_RCVBUF),
    ("SO_REUSEADDR", libc::SO_REUSEADDR),
    ("SO_SNDBUF", libc::SO_SNDBUF),
    ("F_SETFL", libc::F_SETFL),
    ("EAGAIN", libc::EAGAIN),
    ("ECONNREFUSED", libc::ECONNREFUSED),
    ("ECONNRESET", libc::ECONNRESET),
    ("EHOSTUNREACH", libc::EHOSTUNREACH),
    ("EINPROGRESS", libc::EINPROGRESS),
    ("EOPNOTSUPP", libc::EOPNOTSUPP),
    ("ETIMEDOUT", libc::ETIMEDOUT),
];

fn constant(text: &str) -> Result<c_int, String> {
    let known = CONSTANTS.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    known
        .or_else(|| text.parse().ok())
        .ok_or_else(|| format!("{text} is neither a number nor a name that is known here"))
}

fn text(result: Result<c_int, Errno>) -> String {
    match result {
        Ok(value) => value.to_string(),
        Err(Errno(number)) => std::io::Error::from_raw_os_error(number).to_string(),
    }
}
