//! The DNS, the policies of domains, and reports about TLS.

use std::time::Duration;

// dns

/// Questions that resolvers have at the same time. Each has a socket of its own; a resolver on the same box answers thousands a
/// second with fewer.
pub const LOOKUPS_MAX: usize = 256;

/// Domains that one worker may have asked the control thread about.
pub const LOOKUPS_PER_WORKER_MAX: usize = 256;

/// A worker asks again about a domain after so long without an answer: more than all steps of a lookup take with resolvers that
/// are silent.
pub const LOOKUP_PATIENCE: Duration = Duration::from_secs(60);

/// The pause before a worker that found the channel to the control thread full asks again.
pub const LOOKUP_ASK_DELAY: Duration = Duration::from_millis(100);

/// Answers that one message to a worker carries.
pub const LOOKUP_ANSWERS_PER_MESSAGE: usize = 64;

/// How long one resolver is waited for before the next is asked. glibc has the same.
pub const DNS_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// Resolvers that are asked in turn: with more, a worker would lose patience before the last had its say.
pub const RESOLVERS_MAX: usize = 4;

/// How long an answer holds at least: a domain with mail under way is not asked about all the time, whatever it says.
pub const DNS_TTL_MIN: Duration = Duration::from_secs(30);

/// How long it holds at most.
pub const DNS_TTL_MAX: Duration = Duration::from_secs(86_400);

/// How long a "there is none" holds at most (RFC 2308 §5 has three hours as the most that is sensible): a domain that is new
/// has its mail soon.
pub const DNS_NEGATIVE_TTL_MAX: Duration = Duration::from_secs(900);

/// How long a failure of resolvers is remembered (RFC 2308 §7.1 allows five minutes): messages of one domain that are due
/// together ask once.
pub const DNS_FAILURE_TTL: Duration = Duration::from_secs(5);

/// Answers of resolvers that are remembered, each of some hundred bytes; at the worst, with [`DNS_RECORDS_MAX`] of the longest
/// names in each, 300 MB.
pub const DNS_CACHE_MAX: usize = 16_384;

/// Records that are taken from one answer.
pub const DNS_RECORDS_MAX: usize = 64;

/// Hosts of one domain, those with the lowest preferences. Large providers have a dozen.
pub const MX_HOSTS_MAX: usize = 32;

/// What is taken of one TXT record about the mail of a domain, bytes: a longer one is not about what is asked for here.
pub const TXT_SIZE_MAX: usize = 256;

/// Policies that are fetched at a time (MTA-STS), out of [`LOOKUPS_MAX`] and beside the questions to resolvers: servers that never
/// answer hold up no more than these.
pub const POLICY_FETCHES_MAX: usize = 64;

/// How long a fetch of a policy may take (RFC 8461 §3.3 suggests a minute). Mail of its domain waits for it.
pub const POLICY_FETCH_TIMEOUT: Duration = Duration::from_secs(20);

/// Addresses of a policy's server that are tried.
pub const POLICY_ADDRESSES_MAX: usize = 4;

/// The largest policy, bytes (RFC 8461 §3.2 suggests this limit).
pub const POLICY_SIZE_MAX: usize = 64 << 10;

/// Hosts that a policy may name. Large providers need a handful.
pub const POLICY_HOSTS_MAX: usize = 64;

/// How long a policy counts at most: RFC 8461 §3.2 sets this limit of about a year.
pub const POLICY_AGE_MAX: Duration = Duration::from_secs(31_557_600);

/// How long a policy is not fetched again, whether that failed or its record has changed once more (RFC 8461 §3.3 wants five minutes).
pub const POLICY_RETRY_DELAY: Duration = Duration::from_secs(300);

/// When a policy is fetched again though its record is the same, so that one that counts for long is not found too old on the day on
/// which its server is down.
pub const POLICY_REFRESH_DELAY_MAX: Duration = Duration::from_secs(86_400);

/// Policies that are remembered: of the size of a name mostly, at the worst, with [`POLICY_HOSTS_MAX`] of the longest names in each,
/// 130 MB.
pub const POLICIES_MAX: usize = 8192;

/// The largest file of them that is read at the start, bytes: what [`POLICIES_MAX`] of them take at the worst. One or two megabytes
/// are usual.
pub const POLICIES_FILE_SIZE_MAX: usize = 160 << 20;

/// How often policies are written down while they change. A crash may take what was fetched since: it is fetched again when there is
/// mail for its domain.
pub const POLICIES_SAVE_INTERVAL: Duration = Duration::from_secs(10);

// tlsrpt

/// Domains that are counted for reports in a day, each of some hundred bytes: those that want no reports are known by name alone.
pub const REPORT_DOMAINS_MAX: usize = 16_384;

/// Policies in one report: those of all hosts of a domain, and what they were before they changed in the day.
pub const REPORT_POLICIES_MAX: usize = 32;

/// Failures of one policy in a report that differ in kind, host, address or text; more than these are counted only.
pub const REPORT_FAILURES_MAX: usize = 64;

/// What is kept of the text of a failure, bytes.
pub const REPORT_REASON_SIZE_MAX: usize = 256;

/// What is taken of any TXT record, bytes: as much as one takes that names a few places for reports. It is not remembered.
pub const REPORT_RECORD_SIZE_MAX: usize = 1024;

/// Places that one domain may have its reports sent to (RFC 8460 §3 gives no limit).
pub const REPORT_TARGETS_MAX: usize = 4;

/// Reports that wait to be sent; beyond it the oldest is given up. At the worst, with all policies and failures that a report may have,
/// each takes a megabyte; mostly a kilobyte.
pub const REPORTS_WAITING_MAX: usize = 16_384;

/// Within how long after midnight the reports of a day are sent (RFC 8460 §4.1 suggests up to four hours).
pub const REPORT_SPREAD: Duration = Duration::from_secs(4 * 3600);

/// The pause before a report that could not be sent is sent again, and a record that could not be found is looked for again.
pub const REPORT_RETRY_DELAY: Duration = Duration::from_secs(3600);

/// Attempts to send a report, or to find out where to: a day of them (RFC 8460 §5.5).
pub const REPORT_ATTEMPTS_MAX: u32 = 24;

/// A report that waits for longer than this after its day, whatever for, is given up.
pub const REPORT_AGE_MAX: Duration = Duration::from_secs(3 * 86_400);

/// Reports that are sent, and records that are looked for, at a time: mail comes first.
pub const REPORTS_UNDER_WAY_MAX: usize = 8;

/// How long posting a report may take.
pub const REPORT_POST_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the control thread waits until a worker has a report on its disk.
pub const REPORT_SUBMIT_TIMEOUT: Duration = Duration::from_secs(30);

/// How often what is counted is written down while it changes: so much of it a crash may take.
pub const REPORT_SAVE_INTERVAL: Duration = Duration::from_secs(60);

/// How long an end waits for a file that the control thread has had written.
pub const SAVE_PATIENCE: Duration = Duration::from_secs(5);

/// The largest file of what is counted that is read at the start, bytes.
pub const REPORT_FILE_SIZE_MAX: usize = 256 << 20;

/// Domains for which one connection is counted; its receiver has many, or it is used for very long.
pub const REPORT_DOMAINS_PER_CONNECTION_MAX: usize = 64;

/// TLSA records by which one host is known: two keys, of an authority and of its own, in every form, and more.
pub const TLSA_RECORDS_MAX: usize = 16;

/// What is kept of the TLSA records of one answer, bytes: two whole certificates, or digests without end. What is left out counts as
/// a record that is of no use, so that it can only make a host stricter.
pub const TLSA_SIZE_MAX: usize = 8 << 10;

/// Addresses of one host, of each family.
pub const HOST_ADDRESSES_MAX: usize = 16;

/// Aliases on the way to one answer: resolvers follow about as many themselves.
pub const ALIASES_MAX: usize = 8;
