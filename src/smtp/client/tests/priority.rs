//! How urgent a message is, towards servers that care (RFC 6710).

use super::*;
use crate::smtp::Priority;

#[test]
fn a_priority_goes_on_to_servers_that_offer_it() {
    for (offer, number, parameter) in [
        ("MT-PRIORITY", -9, " MT-PRIORITY=-9"),
        ("mt-priority MIXER", 4, " MT-PRIORITY=4"),
        ("MT-PRIORITY", 0, ""),
        ("X-MT-PRIORITY", 4, ""),
    ] {
        let priority = Priority::try_from(number).unwrap();
        play(
            Protocol::Smtp,
            &[Task::Deliver(Transaction { priority, ..message(&["a@x.example"]) })],
            &format!(
                "S 220 hello
                 C EHLO us.example
                 S 250-x.example
                 S 250 {offer}
                 C MAIL FROM:<from@us.example>{parameter}
                 S 250 2.3.6 3 is the new priority
                 C RCPT TO:<a@x.example>
                 S 550 no
                 C RSET
                 S 250 ok
                 X
                 E ready
                 E 10 failed 550 no (in reply to RCPT TO)
                 E done
                 E closing the connection was lost between two messages"
            ),
        );
    }
}
