//! Sequences that some servers take for the end of content, and that are none.

/// Ends of data that a sender and a receiver have read differently, or may: each is content for us, mostly forbidden one,
/// and neither accepted nor sent on.
///
/// The first twelve are those that two public scanners try or have tried: The-Login/SMTP-Smuggling-Tools (nine of them)
/// and hannob/smtpsmug (ten, seven of them the same). The first of them once tried `CR CR LF . CR LF` as well, which holds the
/// true end, and is one. The last six are what readers might make of such an end that take a line end the wrong way
/// round, condense CRs, or drop NULs.
pub const FALSE_ENDS: [&[u8]; 18] = [
    b"\n.\n",
    b"\n.\r",
    b"\n.\r\n",
    b"\r.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\n\n.\r\n",
    b"\n.\r\r\n",
    b"\n\r.\n\r",
    b"\r\r.\r\r",
    b"\r\n.\r\0\n",
    b"\r\n.\0\n",
];
