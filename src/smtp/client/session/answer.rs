//! What each reply means in each state.
//!
//! In: whole replies, one at a time. Out: the next state, commands, fates. A reply that the state has no use for
//! is a breach of protocol and ends the session.

use super::{Asked, Cause, Framing, Session, State};
use crate::env::Instant;
use crate::smtp::BodyType;
use crate::smtp::client::command;
use crate::smtp::client::content::{Chunks, Stuffing};
use crate::smtp::client::exchange::{Exchange, Purpose, says_full};
use crate::smtp::client::reply::RemoteReply;
use crate::smtp::client::{Credentials, Event, Extensions, Fate, Protocol, Reason, Stage, StartTls};
use std::mem;
use std::sync::Arc;

impl Session {
    /// One whole reply has come.
    pub(super) fn answer(&mut self, now: Instant, reply: RemoteReply) {
        // RFC 5321 §3.8: 421 may answer anything, and the server closes after it.
        if reply.code == 421 {
            return self.fail(Cause::Reply(reply));
        }
        match mem::replace(&mut self.state, State::Closed) {
            State::Greeting => self.answer_greeting(now, reply),
            State::Hello(stage) => self.answer_hello(now, stage, reply),
            State::StartTls => self.answer_starttls(now, reply),
            State::Auth(asked) => self.answer_auth(now, asked, reply),
            State::Envelope(exchange) => self.answer_envelope(now, exchange, reply),
            State::Outcome { exchange, chunks_count } => self.answer_outcome(now, exchange, chunks_count, reply),
            State::Content { exchange, framing: Framing::Bdat(mut chunks), block_size, ending }
                if reply.is_positive() && chunks.unanswered_count > u32::from(chunks.open_size > 0) =>
            {
                chunks.unanswered_count -= 1;
                let resumes = !self.extensions.pipelining && !ending;
                self.enter(now, State::Content { exchange, framing: Framing::Bdat(chunks), block_size, ending });
                if resumes {
                    self.events.push_back(Event::ContentWanted);
                }
                self.end_content(now);
            }
            // A refusal before the content is through: it can only be stopped by leaving.
            state @ State::Content { .. } => {
                self.state = state;
                let refused = reply.code >= 400;
                self.fail(if refused { Cause::Reply(reply) } else { Cause::Protocol });
            }
            State::Discard => self.reset(now),
            State::Reset if reply.is_positive() => self.finish_task(now),
            State::Reset => {
                self.events.push_back(Event::TaskDone);
                self.say_goodbye(now);
            }
            // Nobody asked anything.
            state @ (State::Idle | State::Handshake { .. }) => {
                self.state = state;
                self.fail(Cause::Protocol);
            }
            State::Quit | State::Closed => self.close_quietly(),
        }
    }

    fn answer_greeting(&mut self, now: Instant, reply: RemoteReply) {
        self.state = State::Greeting;
        if reply.is_positive() {
            self.say_hello(now, self.first_hello());
        } else {
            self.refused(reply);
        }
    }

    /// How the server is addressed if it knows extensions.
    pub(super) fn first_hello(&self) -> Stage {
        if self.settings.protocol == Protocol::Lmtp { Stage::Lhlo } else { Stage::Ehlo }
    }

    pub(super) fn say_hello(&mut self, now: Instant, stage: Stage) {
        command::hello(self.output.end(), stage.command(), &self.settings.ehlo_name);
        self.enter(now, State::Hello(stage));
    }

    fn answer_hello(&mut self, now: Instant, stage: Stage, reply: RemoteReply) {
        self.state = State::Hello(stage);
        if reply.is_positive() {
            let wanted = !self.secured && self.settings.starttls != StartTls::Never;
            if wanted && self.extensions.starttls {
                self.output.end().extend_from_slice(b"STARTTLS\r\n");
                self.enter(now, State::StartTls);
            } else {
                self.greeted(now);
            }
            return;
        }
        // A refusal offers nothing, whatever its lines look like.
        self.extensions = Extensions::default();
        if stage == Stage::Ehlo && reply.is_permanent() {
            // RFC 5321 §3.2: a server that does not know EHLO is greeted with HELO.
            self.say_hello(now, Stage::Helo);
        } else {
            self.refused(reply);
        }
    }

    /// The server knows us, and no TLS follows: unless mail has to wait for it, tasks may begin.
    fn greeted(&mut self, now: Instant) {
        if !self.secured && (self.settings.starttls == StartTls::Always || self.settings.credentials.is_some()) {
            self.fail(Cause::TlsNotOffered);
            self.output.end().extend_from_slice(b"QUIT\r\n");
            return;
        }
        match &self.settings.credentials {
            None => self.welcomed(now),
            Some(credentials) => self.authenticate(now, &Arc::clone(credentials)),
        }
    }

    fn welcomed(&mut self, now: Instant) {
        self.enter(now, State::Idle);
        self.events.push_back(Event::Ready);
    }

    /// Says who we are, by the best way that is offered.
    fn authenticate(&mut self, now: Instant, credentials: &Credentials) {
        let (line, asked) = if self.extensions.auth_plain {
            (format!("AUTH PLAIN {}\r\n", credentials.plain()), Asked::Nothing)
        } else if self.extensions.auth_login {
            ("AUTH LOGIN\r\n".to_owned(), Asked::User)
        } else {
            self.fail(Cause::AuthNotOffered);
            return self.output.end().extend_from_slice(b"QUIT\r\n");
        };
        self.output.end().extend_from_slice(line.as_bytes());
        self.enter(now, State::Auth(asked));
    }

    fn answer_auth(&mut self, now: Instant, asked: Asked, reply: RemoteReply) {
        self.state = State::Auth(asked);
        let credentials = self.settings.credentials.clone();
        match (reply.code, asked, credentials) {
            // LOGIN asks for both, the user first, in words that are not always the same.
            (334, Asked::User | Asked::Password, Some(credentials)) => {
                let [user, password] = credentials.login();
                let (text, next) =
                    if asked == Asked::User { (user, Asked::Password) } else { (password, Asked::Nothing) };
                self.output.end().extend_from_slice(format!("{text}\r\n").as_bytes());
                self.enter(now, State::Auth(next));
            }
            (235, Asked::Nothing, _) => self.welcomed(now),
            _ => self.refused(reply),
        }
    }

    fn answer_starttls(&mut self, now: Instant, reply: RemoteReply) {
        self.state = State::StartTls;
        if reply.code == 220 {
            self.enter(now, State::Handshake { greeting_due: false });
        } else if reply.code < 400 {
            self.fail(Cause::Protocol);
        } else if self.settings.starttls == StartTls::Always {
            self.refused(reply);
        } else {
            // RFC 3207 §4.1: it is ours to decide.
            self.greeted(now);
        }
    }

    /// The server does not want us; there is no task to answer for.
    fn refused(&mut self, reply: RemoteReply) {
        let polite = reply.code >= 400;
        self.fail(if polite { Cause::Reply(reply) } else { Cause::Protocol });
        if polite {
            // RFC 5321 §3.1: after 554 the server waits for QUIT. Its answer would change nothing.
            self.output.end().extend_from_slice(b"QUIT\r\n");
        }
    }

    fn answer_envelope(&mut self, now: Instant, mut exchange: Exchange, reply: RemoteReply) {
        let stage = exchange.stage();
        let unasked = exchange.answered == exchange.issued;
        // 3xx answers DATA and nothing else, 2xx anything else.
        let misplaced = match stage {
            Stage::Data => reply.is_positive(),
            _ => reply.is_intermediate(),
        };
        if unasked || misplaced {
            self.state = State::Envelope(exchange);
            return self.fail(Cause::Protocol);
        }
        match stage {
            Stage::Mail if !reply.is_positive() => {
                let open = exchange.unsettled();
                exchange.abandoned = true;
                self.settle_refused(&exchange, &open, stage, &reply);
            }
            Stage::Rcpt if !exchange.abandoned => self.answer_rcpt(&mut exchange, reply),
            Stage::Data => return self.answer_data(now, exchange, reply),
            _ => {}
        }
        exchange.answered += 1;
        let pipelining = self.extensions.pipelining;
        let over = exchange.answered == exchange.issued && !exchange.may_issue(pipelining);
        if !over {
            self.enter(now, State::Envelope(exchange));
            self.issue();
        } else if exchange.accepted.is_empty() {
            self.reset(now);
        } else {
            debug_assert_eq!(exchange.transaction.body, BodyType::BinaryMime);
            self.begin_content(now, exchange, Framing::Bdat(Chunks::default()));
        }
    }

    fn answer_rcpt(&mut self, exchange: &mut Exchange, reply: RemoteReply) {
        let place = (exchange.answered - 1) as u32;
        if reply.is_positive() {
            match exchange.purpose {
                Purpose::Deliver => exchange.accepted.push(place),
                Purpose::Verify => self.events.push_back(Event::Verified { fate: Fate::Delivered(reply) }),
            }
        } else if exchange.purpose == Purpose::Deliver && !exchange.accepted.is_empty() && says_full(&reply) {
            self.settle(exchange, place, Fate::Deferred(Reason::TooManyRecipients));
        } else {
            let fate = self.fate(Reason::Reply { stage: Stage::Rcpt, reply });
            self.settle(exchange, place, fate);
        }
    }

    fn answer_data(&mut self, now: Instant, mut exchange: Exchange, reply: RemoteReply) {
        let nobody = exchange.unsettled().is_empty();
        if !reply.is_intermediate() {
            // RFC 5321 §4.1.1.4, RFC 2033 §4.2: one answer, for all.
            let open = exchange.unsettled();
            exchange.accepted_settled = exchange.accepted.len();
            self.settle_refused(&exchange, &open, Stage::Data, &reply);
            self.reset(now);
        } else if !nobody {
            self.begin_content(now, exchange, Framing::Data(Stuffing::default()));
        } else if self.settings.protocol == Protocol::Smtp {
            // RFC 2920 §3.1: a server that accepts DATA for nobody is given an empty message.
            self.output.end().extend_from_slice(b".\r\n");
            self.enter(now, State::Discard);
        } else {
            // How many answers an LMTP server gives here cannot be known (RFC 2033 §4.2 wants 503).
            self.events.push_back(Event::TaskDone);
            self.close(None);
        }
    }

    fn answer_outcome(&mut self, now: Instant, mut exchange: Exchange, chunks_count: u32, reply: RemoteReply) {
        // An answer to a message whose end the server does not have cannot be about all of it.
        let early = chunks_count == 0 && (!self.output.is_empty() || self.end_in_flight);
        if early || chunks_count > 0 || reply.is_intermediate() {
            let next_chunk = chunks_count > 0 && reply.is_positive();
            let refused = reply.code >= 400;
            self.state = State::Outcome { exchange, chunks_count };
            if !next_chunk {
                return self.fail(if refused { Cause::Reply(reply) } else { Cause::Protocol });
            }
            if let State::Outcome { chunks_count, .. } = &mut self.state {
                *chunks_count -= 1;
            }
            self.deadline = self.patience().map(|patience| now + patience);
            return;
        }
        let answers_for = match self.settings.protocol {
            Protocol::Smtp => exchange.accepted.len(),
            // RFC 2033 §4.2: an answer for each accepted recipient, in the order of their RCPTs.
            Protocol::Lmtp => exchange.accepted_settled + 1,
        };
        while exchange.accepted_settled < answers_for {
            let place = exchange.accepted[exchange.accepted_settled];
            exchange.accepted_settled += 1;
            let fate = if reply.is_positive() {
                Fate::Delivered(reply.clone())
            } else {
                self.fate(Reason::Reply { stage: Stage::Outcome, reply: reply.clone() })
            };
            self.settle(&exchange, place, fate);
        }
        if exchange.accepted_settled < exchange.accepted.len() {
            self.enter(now, State::Outcome { exchange, chunks_count });
        } else if reply.is_positive() || self.settings.protocol == Protocol::Lmtp {
            self.finish_task(now);
        } else {
            self.reset(now);
        }
    }
}
