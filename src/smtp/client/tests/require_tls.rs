//! Mail whose sender demands TLS all the way (RFC 8689).

use super::*;

fn demanding(authenticated: bool, reverse_path: &str) -> Task {
    let reverse_path = reverse_path.into();
    Task::Deliver(Transaction { require_tls: true, authenticated, reverse_path, ..message(&["a@x.example"]) })
}

#[test]
fn it_goes_on_to_servers_that_are_who_they_should_be_and_do_the_same() {
    play(
        Protocol::Smtp,
        &[demanding(true, "from@us.example")],
        "S 220 hello
         C EHLO us.example
         S 250-x.example
         S 250 REQUIRETLS
         C MAIL FROM:<from@us.example> REQUIRETLS
         S 250 ok
         C RCPT TO:<a@x.example>
         S 550 no
         C RSET
         S 250 ok
         X
         E ready
         E 10 failed 550 no (in reply to RCPT TO)
         E done
         E closing the connection was lost between two messages",
    );
}

#[test]
fn it_bounces_where_it_would_have_to_go_otherwise() {
    for (authenticated, offer) in [(true, "DSN"), (false, "REQUIRETLS")] {
        play(
            Protocol::Smtp,
            &[demanding(authenticated, "from@us.example")],
            &format!(
                "S 220 hello
                 C EHLO us.example
                 S 250-x.example
                 S 250 {offer}
                 X
                 E ready
                 E 10 failed {}
                 E done
                 E closing the connection was lost between two messages",
                LocalReason::RequireTlsUnmet
            ),
        );
    }
}

#[test]
fn a_notice_is_not_lost_for_it_and_mailboxes_are_no_hops() {
    for (protocol, hello, reverse_path) in [(Protocol::Smtp, "EHLO", ""), (Protocol::Lmtp, "LHLO", "from@us.example")] {
        play(
            protocol,
            &[demanding(false, reverse_path)],
            &format!(
                "S 220 hello
                 C {hello} us.example
                 S 250 x.example
                 C MAIL FROM:<{reverse_path}>
                 S 250 ok
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
