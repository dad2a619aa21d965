//! Where a domain's mail goes: the clerk of [`crate::dns`], and the resolvers that it has asked.
//!
//! In: domains that workers ask about. Out: answers, by message. A question to a resolver is an errand beside the control thread's
//! loop, and its reply comes back as news; so is fetching a domain's policy from the web. [`NameBoard`] decides what is asked and who
//! hears of it, and is sans-IO; the rest is adapter.

mod board;
mod report;
mod resolver;
#[cfg(test)]
mod tests;
mod web;

pub use board::NameBoard;
pub use report::{DaneReport, DomainReport, HostReport, StsReport};

use super::links::WorkerLink;
use super::protocol::Answer;
use crate::dns::{Kind, Question, Reply, Rules};
use crate::env::Instant;
use crate::limits::ADMIN_REPLY_TIMEOUT;
use board::OPERATOR;
pub(in crate::control) use resolver::Resolvers;
use rustls::RootCertStore;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
pub(in crate::control) use web::Web;

/// How domains are looked up.
#[derive(Clone, Debug)]
pub struct DnsSettings {
    /// What holds for all lookups.
    pub rules: Rules,
    /// Whom to ask, in this order; at least one.
    pub resolvers: Vec<SocketAddr>,
    /// What they say to have validated counts as secure.
    pub trust_ad: bool,
    /// How long one of them is waited for.
    pub timeout: Duration,
    /// Whose certificates the servers of policies show; none: no policy is fetched.
    pub roots: Option<Arc<RootCertStore>>,
}

/// How often a worker's full channel is asked again for room.
const SEND_RETRY: Duration = Duration::from_millis(2);

/// The board, and the resolvers that are asked for it.
pub(in crate::control) struct Names {
    board: NameBoard,
    resolvers: Arc<Resolvers>,
    web: Option<Arc<Web>>,
    errands: JoinSet<(Question, Reply)>,
    unsent: bool,
    /// Operators that wait for an answer, and until when: no more than there are clients of the admin socket.
    operators: Vec<(String, oneshot::Sender<Vec<Answer>>, Instant)>,
}

impl Names {
    /// Within the control thread's runtime.
    pub fn new(settings: DnsSettings, links: Vec<WorkerLink>) -> Names {
        Names {
            resolvers: Arc::new(Resolvers::new(&settings)),
            web: settings.roots.clone().and_then(|roots| Web::new(roots).ok()).map(Arc::new),
            board: NameBoard::new(settings.rules, links),
            errands: JoinSet::new(),
            unsent: false,
            operators: Vec::new(),
        }
    }

    /// Whom it asks: resolvers, and the web.
    pub fn sources(&self) -> (Arc<Resolvers>, Option<Arc<Web>>) {
        (Arc::clone(&self.resolvers), self.web.clone())
    }

    /// A worker asks.
    pub fn ask(&mut self, worker: u16, domain: &str, now: Instant) {
        self.board.ask(now, worker, domain);
    }

    /// A resolver has answered.
    pub fn tell(&mut self, question: &Question, reply: Reply, now: Instant) {
        self.board.tell(now, question, reply);
    }

    /// An operator asks.
    pub fn show(&mut self, domain: String, answer: oneshot::Sender<Vec<Answer>>, now: Instant) {
        self.board.ask(now, OPERATOR, &domain);
        self.operators.push((domain, answer, now + ADMIN_REPLY_TIMEOUT));
    }

    /// Goes on: asks resolvers, sends the workers what waits for them.
    pub fn turn(&mut self, now: Instant) {
        while let Some(question) = self.board.question() {
            let (resolvers, web) = (Arc::clone(&self.resolvers), self.web.clone());
            self.errands.spawn(async move {
                let reply = match &web {
                    _ if question.kind != Kind::Policy => resolvers.ask(&question).await,
                    Some(web) => web.fetch(&resolvers, &question.name).await,
                    None => Reply::failed("no certificate could be believed"),
                };
                (question, reply)
            });
        }
        self.unsent = !self.board.send();
        for (domain, known) in self.board.shown() {
            let report = DomainReport::new(&domain, &known);
            for (_, answer, _) in self.operators.extract_if(.., |(asked, ..)| **asked == *domain) {
                // The client may have hung up.
                let _ = answer.send(vec![Answer::Domain { domain: Box::new(report.clone()) }]);
            }
        }
        for (domain, answer, _) in self.operators.extract_if(.., |(.., until)| *until <= now) {
            let text = format!("nothing is known of {domain} yet: the resolvers take their time; ask again");
            let _ = answer.send(vec![Answer::Error { text }]);
        }
    }

    /// When [`Names::turn`] has something to do.
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let unsent = self.unsent.then(|| now + SEND_RETRY);
        unsent.into_iter().chain(self.operators.iter().map(|(.., until)| *until)).min()
    }
}

/// What resolvers have said. May be dropped at any time.
pub(in crate::control) async fn news(names: &mut Option<Names>) -> (Question, Reply) {
    let errands = names.as_mut().map(|names| &mut names.errands);
    match errands.filter(|errands| !errands.is_empty()) {
        None => std::future::pending().await,
        Some(errands) => match errands.join_next().await.expect("there is one") {
            Ok(news) => news,
            // A question whose errand panicked has no answer, and a lookup waits for it: as after any bug, the process ends.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        },
    }
}
