//! Where a domain's mail goes: the clerk of [`crate::dns`], and the resolvers that it has asked.
//!
//! In: domains that workers ask about. Out: answers, by message. A question to a resolver is an errand beside the control thread's
//! loop, and its reply comes back as news; so is fetching a domain's policy from the web. [`NameBoard`] decides what is asked and who
//! hears of it, and is sans-IO; the rest is adapter. The policies that count are kept in a file in the folder of the queue, from which a
//! restart goes on.

mod board;
mod policies;
mod report;
mod resolver;
#[cfg(test)]
mod tests;
mod web;

pub use board::NameBoard;
pub use report::{DaneReport, DomainReport, HostReport, StsReport};

use super::links::WorkerLink;
use super::protocol::Answer;
use super::saving::Saving;
use crate::dns::{Kind, Question, Reply, Rules};
use crate::env::{Instant, Now, say};
use crate::event::Event;
use crate::limits::{ADMIN_REPLY_TIMEOUT, POLICIES_SAVE_INTERVAL};
use board::OPERATOR;
pub(in crate::control) use resolver::Resolvers;
use rustls::RootCertStore;
use std::net::SocketAddr;
use std::path::PathBuf;
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
    /// The folder of the queue, in which policies are kept; none: they are not heeded, or forgotten.
    pub directory: Option<PathBuf>,
}

/// How often a worker's full channel is asked again for room.
const SEND_RETRY: Duration = Duration::from_millis(2);

/// What an errand has come to.
pub(in crate::control) enum NameNews {
    /// What a resolver, or the web, has said.
    Told(Question, Reply),
    /// The policies were written down, or why not.
    Saved(Result<(), String>),
}

/// The board, and the resolvers that are asked for it.
pub(in crate::control) struct Names {
    board: NameBoard,
    resolvers: Arc<Resolvers>,
    web: Option<Arc<Web>>,
    errands: JoinSet<NameNews>,
    directory: Option<PathBuf>,
    /// Of the policies.
    saving: Saving,
    found: Vec<Event>,
    unsent: bool,
    /// Operators that wait for an answer, and until when: no more than there are clients of the admin socket.
    operators: Vec<(String, oneshot::Sender<Vec<Answer>>, Instant)>,
}

impl Names {
    /// Within the control thread's runtime; it reads a file.
    pub fn new(settings: DnsSettings, links: Vec<WorkerLink>, now: Now) -> Names {
        let mut names = Names {
            resolvers: Arc::new(Resolvers::new(&settings)),
            web: settings.roots.clone().and_then(|roots| Web::new(roots).ok()).map(Arc::new),
            board: NameBoard::new(settings.rules, links),
            errands: JoinSet::new(),
            directory: settings.directory,
            saving: Saving::new("policies (MTA-STS)", POLICIES_SAVE_INTERVAL, now.mono),
            found: Vec::new(),
            unsent: false,
            operators: Vec::new(),
        };
        if let Some(directory) = &names.directory {
            let (policies, trouble) = policies::recall(directory, now);
            *names.board.policies() = policies;
            names.found.extend(trouble.map(|text| Event::Warning { text }));
        }
        names
    }

    /// Whom it asks: resolvers, and the web.
    pub fn sources(&self) -> (Arc<Resolvers>, Option<Arc<Web>>) {
        (Arc::clone(&self.resolvers), self.web.clone())
    }

    /// A worker asks.
    pub fn ask(&mut self, worker: u16, domain: &str, now: Instant) {
        self.board.ask(now, worker, domain);
    }

    /// An errand has come back.
    pub fn tell(&mut self, news: NameNews, now: Instant) {
        match news {
            NameNews::Told(question, reply) => self.board.tell(now, &question, reply),
            NameNews::Saved(result) => self.found.extend(self.saving.done(result)),
        }
    }

    /// An operator asks.
    pub fn show(&mut self, domain: String, answer: oneshot::Sender<Vec<Answer>>, now: Instant) {
        self.board.ask(now, OPERATOR, &domain);
        self.operators.push((domain, answer, now + ADMIN_REPLY_TIMEOUT));
    }

    /// Goes on: asks resolvers, sends the workers what waits for them, writes down policies. What is to be logged.
    pub fn turn(&mut self, now: Now) -> Vec<Event> {
        while let Some(question) = self.board.question() {
            let (resolvers, web) = (Arc::clone(&self.resolvers), self.web.clone());
            self.errands.spawn(async move {
                let reply = match &web {
                    _ if question.kind != Kind::Policy => resolvers.ask(&question).await,
                    Some(web) => web.fetch(&resolvers, &question.name).await,
                    None => Reply::failed("no certificate could be believed"),
                };
                NameNews::Told(question, reply)
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
        for (domain, answer, _) in self.operators.extract_if(.., |(.., until)| *until <= now.mono) {
            let text = format!("nothing is known of {domain} yet: the resolvers take their time; ask again");
            let _ = answer.send(vec![Answer::Error { text }]);
        }
        self.save(now);
        std::mem::take(&mut self.found)
    }

    /// Has the policies written down, if they have changed. They change while they are looked up alone.
    fn save(&mut self, now: Now) {
        let Some(directory) = &self.directory else { return };
        self.saving.note(self.board.policies().take_changed());
        if self.saving.begin(now.mono) {
            let (directory, policies) = (directory.clone(), self.board.policies().clone());
            self.errands.spawn_blocking(move || {
                NameNews::Saved(policies::save(&directory, &policies, now).map_err(|error| error.to_string()))
            });
        }
    }

    /// Writes down the policies that have changed, at the end.
    pub async fn close(&mut self, now: Now) {
        let Some(directory) = &self.directory else { return };
        self.saving.note(self.board.policies().take_changed());
        let result = |news| if let NameNews::Saved(result) = news { Some(result) } else { None };
        if self.saving.finish(&mut self.errands, result).await
            && let Err(error) = policies::save(directory, self.board.policies(), now)
        {
            say(format_args!("rohrpost: {}", self.saving.trouble(&error.to_string())));
        }
    }

    /// When [`Names::turn`] has something to do.
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let unsent = self.unsent.then(|| now + SEND_RETRY);
        unsent.into_iter().chain(self.operators.iter().map(|(.., until)| *until)).min()
    }
}

/// What errands have come to. May be dropped at any time.
pub(in crate::control) async fn news(names: &mut Option<Names>) -> NameNews {
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
