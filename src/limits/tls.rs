//! TLS.

use std::time::Duration;

/// Output of a connection under TLS that waits for room in its flow, bytes: four records, enough to fill a window while the next
/// bytes come.
pub const TLS_OUTPUT_MAX: usize = 64 << 10;

/// What is read of a file with a key or a certificate, bytes: the longest chains have a tenth of it.
pub const KEY_FILE_SIZE_MAX: u64 = 1 << 20;

/// Steps of handshakes in one breath of a worker: each is what one side does with what the other sent, some 0.2 ms at most with
/// ECDSA and 1 ms with RSA-2048. The rest waits for the next breath, so that sessions go on in between.
pub const HANDSHAKE_STEPS_PER_BREATH: usize = 4;

/// How long a client's handshake may take: a few round trips, and the time until its turn comes.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a key of session tickets is used. Whoever gets hold of one can read what resumed TLS 1.2 in that time, and a client
/// that comes again within that time is spared an exchange of keys.
pub const TICKET_KEY_PERIOD: Duration = Duration::from_secs(6 * 3600);

/// The largest session ticket, bytes: ours have a few hundred.
pub const TICKET_SIZE_MAX: usize = 16 << 10;

/// The least that a file with the secret of session tickets has, bytes.
pub const TICKET_SECRET_SIZE_MIN: usize = 32;

/// Certificates of listeners: each is looked at for the name that a client asks for.
pub const CERTIFICATES_MAX: usize = 64;

/// Hosts whose sessions a worker can resume, of each kind: a few kilobytes for each.
pub const RESUMED_HOSTS_MAX: usize = 1024;

/// Hosts whose certificates the DNS knows and that a worker was connected to lately: some kilobytes for each, and a session that can be
/// resumed.
pub const ASSOCIATIONS_MAX: usize = 1024;

/// What is read of a file with the certificates of authorities, bytes: a system has 200 KB of them.
pub const ROOTS_SIZE_MAX: u64 = 16 << 20;

/// How long a host that failed at TLS is spoken to in the clear, where that is allowed: as long as a retry or two, so that one
/// that is mended is found out soon.
pub const TLS_FAILURE_MEMORY: Duration = Duration::from_secs(15 * 60);
