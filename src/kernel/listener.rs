//! Listening sockets.

use crate::limits::LISTEN_BACKLOG;
use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

/// Why the transport could not be opened: always the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The port is taken.
    #[error(
        "cannot listen on {address}: another program does. `ss -ltnp 'sport = :{port}'` shows which; stop it, or \
         give the listener another address",
        port = address.port()
    )]
    InUse {
        /// The listener.
        address: SocketAddr,
    },
    /// The port is privileged.
    #[error(
        "cannot listen on {address}: ports below 1024 need CAP_NET_BIND_SERVICE. Start as root or by the service \
         file, or take a higher port"
    )]
    Forbidden {
        /// The listener.
        address: SocketAddr,
    },
    /// The address is not the box's own.
    #[error(
        "cannot listen on {address}: no interface of this box has that address. With transport = \"kernel\" the \
         kernel must hold it (`ip address add`)"
    )]
    NotLocal {
        /// The listener.
        address: SocketAddr,
    },
    /// Anything else about a listener.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The listener.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No readiness queue.
    #[error("cannot watch sockets: {source}; raise the limit of open files (LimitNOFILE, ulimit -n)")]
    Poll {
        /// What the system said.
        source: io::Error,
    },
}

/// One listening socket.
pub(super) struct Listener {
    pub socket: TcpListener,
    /// As bound: with the port that the kernel chose, if it was to choose.
    pub address: SocketAddr,
    /// The kernel said that clients wait, and no accept since has found none.
    pub readable: bool,
}

impl Listener {
    pub fn open(address: SocketAddr, reuse_port: bool) -> Result<Listener, OpenError> {
        let socket = bind(address, reuse_port).map_err(|source| match source.kind() {
            ErrorKind::AddrInUse => OpenError::InUse { address },
            ErrorKind::PermissionDenied => OpenError::Forbidden { address },
            ErrorKind::AddrNotAvailable => OpenError::NotLocal { address },
            _ => OpenError::Listen { address, source },
        })?;
        let socket = TcpListener::from_std(socket.into());
        let address = socket.local_addr().map_err(|source| OpenError::Listen { address, source })?;
        Ok(Listener { socket, address, readable: false })
    }
}

fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // An IPv4 client shall be seen as one, by the listener that the configuration names for it.
        socket.set_only_v6(true)?;
    }
    // Connections of the process before us may still be in TIME-WAIT.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    // Accepted sockets inherit both on Linux, which saves two calls a connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket)
}
