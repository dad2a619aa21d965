//! What is to be sent.
//!
//! In: the command line, or a mix file in TOML. Out: a [`Plan`] whose parts fit each other. Nothing is sent here, and no
//! time passes.

use crate::config::{Period, Size};
use crate::smtp::Priority;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Why a text is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No sizes.
    #[error("\"{0}\" are no sizes: \"2KB\", \"1KB..100KB\" for any between, or \"2KB:70,10KB:25,1MB:5\" with weights")]
    Sizes(String),
    /// No slowness.
    #[error("\"{0}\" is no pace of a slow client: bytes, then the pause behind them, such as \"64B/100ms\"")]
    Slow(String),
    /// No rate.
    #[error("\"{0}\" is no rate: messages a second, such as 1000 or 0.5")]
    Rate(String),
    /// Not enough sessions.
    #[error("{sessions} sessions are too few for {parts} classes and workers: each class needs one on some worker")]
    Sessions {
        /// As many as there are.
        sessions: usize,
        /// As many as there must be.
        parts: usize,
    },
    /// No end.
    #[error("sessions that send no messages end by time only: say how long with --time")]
    Endless,
    /// Nothing that counts.
    #[error("the mix has no class with a weight")]
    Empty,
    /// The file does not hold a mix.
    #[error("{0}")]
    File(String),
}

/// When messages are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Each session sends the next message when the last one is answered: as fast as the server goes.
    Closed,
    /// So many messages a second, evenly, whatever the server does.
    Fixed(f64),
    /// So many messages a second on average, independent of each other, as they come from many senders.
    Poisson(f64),
}

impl Pace {
    /// The same kind of pace for a part of it.
    pub(super) fn part(self, share: f64) -> Pace {
        match self {
            Pace::Closed => Pace::Closed,
            Pace::Fixed(rate) => Pace::Fixed(rate * share),
            Pace::Poisson(rate) => Pace::Poisson(rate * share),
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pace::Closed => f.write_str("closed loop"),
            Pace::Fixed(rate) => write!(f, "open loop, {rate} messages/s, evenly"),
            Pace::Poisson(rate) => write!(f, "open loop, {rate} messages/s, at random"),
        }
    }
}

/// A rate that can be kept.
///
/// # Errors
/// No number, or none above zero.
pub fn rate(text: &str) -> Result<f64, PlanError> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| PlanError::Rate(text.to_owned()))
}

/// How large messages are, header and body together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// Any size from the first to the second, both included, equally often.
    Between(u64, u64),
    /// One of these, as often as its weight says.
    Weighted(Vec<(u64, u32)>),
}

impl Sizes {
    /// The size of the next message.
    pub(super) fn draw(&self, random: &mut StdRng) -> u64 {
        match self {
            Sizes::Between(least, most) if least == most => *least,
            Sizes::Between(least, most) => random.random_range(*least..=*most),
            Sizes::Weighted(sizes) => {
                let total: u64 = sizes.iter().map(|(_, weight)| u64::from(*weight)).sum();
                let mut place = random.random_range(0..total);
                for (size, weight) in sizes {
                    match place.checked_sub(u64::from(*weight)) {
                        Some(rest) => place = rest,
                        None => return *size,
                    }
                }
                unreachable!("the place is below the sum of all weights");
            }
        }
    }
}

impl FromStr for Sizes {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Sizes, PlanError> {
        let wrong = || PlanError::Sizes(text.to_owned());
        let size = |text: &str| text.parse::<Size>().map(|size| *size).map_err(|_| wrong());
        if let Some((least, most)) = text.split_once("..") {
            let (least, most) = (size(least)?, size(most)?);
            return if least <= most { Ok(Sizes::Between(least, most)) } else { Err(wrong()) };
        }
        if !text.contains(':') {
            return size(text).map(|size| Sizes::Between(size, size));
        }
        let mut sizes = Vec::new();
        for part in text.split(',') {
            let (part, weight) = part.split_once(':').ok_or_else(wrong)?;
            sizes.push((size(part)?, weight.parse().map_err(|_| wrong())?));
        }
        if sizes.iter().any(|(_, weight)| *weight > 0) { Ok(Sizes::Weighted(sizes)) } else { Err(wrong()) }
    }
}

/// A client that writes a few bytes and then nothing for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slow {
    /// Bytes between two pauses.
    pub piece_size: usize,
    /// The pause.
    pub pause: Duration,
}

impl FromStr for Slow {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Slow, PlanError> {
        let parsed = text.split_once('/').and_then(|(piece, pause)| {
            let piece_size = usize::try_from(*piece.parse::<Size>().ok()?).ok().filter(|size| *size > 0)?;
            Some(Slow { piece_size, pause: *pause.parse::<Period>().ok()? })
        });
        parsed.ok_or_else(|| PlanError::Slow(text.to_owned()))
    }
}

/// Reads a value by its text.
fn by_text<'de, D: Deserializer<'de>, T: FromStr<Err = PlanError>>(deserializer: D) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn by_text_if_any<'de, D: Deserializer<'de>, T: FromStr<Err = PlanError>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    by_text(deserializer).map(Some)
}

/// How the content of a message is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Transfer {
    /// DATA and a dot.
    #[default]
    Data,
    /// BDAT with one chunk (RFC 3030).
    Bdat,
}

/// Sessions of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Class {
    /// What the report calls it.
    pub name: String,
    /// Its part of the sessions and of the rate.
    pub weight: u32,
    /// How large its messages are.
    #[serde(deserialize_with = "by_text")]
    pub size: Sizes,
    /// Recipients of each message.
    pub recipients: u32,
    /// Messages after which a session ends and another one takes its place; 0 for sessions that are opened and then idle.
    /// Without it sessions stay open.
    pub messages_per_session: Option<u64>,
    /// Send MAIL, RCPT and DATA in one go where the server offers it.
    pub pipelining: bool,
    /// How content is sent.
    pub transfer: Transfer,
    /// How slowly all is sent.
    #[serde(deserialize_with = "by_text_if_any")]
    pub slow: Option<Slow>,
}

impl Default for Class {
    fn default() -> Class {
        Class {
            name: "all".to_owned(),
            weight: 1,
            size: Sizes::Between(10_000, 10_000),
            recipients: 1,
            messages_per_session: None,
            pipelining: true,
            transfer: Transfer::Data,
            slow: None,
        }
    }
}

impl Class {
    /// Its sessions are opened and then do nothing.
    pub(super) fn idles(&self) -> bool {
        self.messages_per_session == Some(0)
    }
}

/// Reads a mix file: `[[class]]` sections.
///
/// # Errors
/// It holds something else.
pub fn parse_mix(text: &str) -> Result<Vec<Class>, PlanError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Mix {
        class: Vec<Class>,
    }
    let mix: Mix = toml::from_str(text).map_err(|error| PlanError::File(error.to_string()))?;
    Ok(mix.class)
}

/// Everything about a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// When messages are sent.
    pub pace: Pace,
    /// Sessions at the same time, of all workers and classes together.
    pub sessions: usize,
    /// Ends after so many messages; `None`: by time alone.
    pub messages: Option<u64>,
    /// Ends after this time; `None`: by the number of messages alone.
    pub time: Option<Duration>,
    /// What happens before this is not counted.
    pub warm_up: Duration,
    /// How long each answer may take.
    pub timeout: Duration,
    /// The name that clients greet with.
    pub ehlo_name: String,
    /// The sender of all messages.
    pub sender: String,
    /// How urgent they are, where the server lets one say so.
    pub priority: Priority,
    /// The recipient of all messages; with more than one, a number is added to each local part.
    pub recipient: String,
    /// Messages go to so many domains in turn, "d0." and so on in front of the recipient's; 0: all to the recipient's own.
    pub domains: u32,
    /// The Date header of all messages.
    pub date: String,
    /// What is sent.
    pub classes: Vec<Class>,
    /// Decides everything that is left to chance.
    pub seed: u64,
}

impl Plan {
    /// The sessions of each class on one of `workers`.
    ///
    /// # Errors
    /// A class would have no session anywhere, or the run no end.
    pub fn sessions_of(&self, worker: usize, workers: usize) -> Result<Vec<usize>, PlanError> {
        let weights: Vec<u64> = self.classes.iter().map(|class| u64::from(class.weight)).collect();
        if weights.iter().sum::<u64>() == 0 {
            return Err(PlanError::Empty);
        }
        if self.time.is_none() && (self.messages.is_none() || self.classes.iter().all(Class::idles)) {
            return Err(PlanError::Endless);
        }
        let wanted = weights.iter().filter(|weight| **weight > 0).count().max(workers);
        let sessions = shares(self.sessions, &weights);
        if self.sessions < wanted || sessions.iter().zip(&weights).any(|(count, weight)| *count == 0 && *weight > 0) {
            return Err(PlanError::Sessions { sessions: self.sessions, parts: wanted });
        }
        // Sessions are dealt out one by one, so that no worker has two more than another.
        let mut dealt = 0;
        let deal = sessions.iter().map(|count| {
            let own = (dealt..dealt + count).filter(|number| number % workers == worker).count();
            dealt += count;
            own
        });
        Ok(deal.collect())
    }

    /// The pace of a class with so many of its sessions.
    pub(super) fn pace_of(&self, class: usize, sessions: usize) -> Pace {
        // Idle sessions send nothing; what is wanted of messages is for the others.
        let weights = self.classes.iter().filter(|class| !class.idles()).map(|class| f64::from(class.weight));
        let weights: f64 = weights.sum();
        let all = shares(self.sessions, &self.classes.iter().map(|class| u64::from(class.weight)).collect::<Vec<_>>());
        let own = sessions as f64 / all[class].max(1) as f64;
        self.pace.part(f64::from(self.classes[class].weight) / weights * own)
    }
}

/// The forward-path of one recipient of a message.
pub(super) struct Recipient<'a> {
    pub plan: &'a Plan,
    /// The number of the message.
    pub message: u64,
    /// Which one, where there are several.
    pub place: Option<u32>,
}

impl fmt::Display for Recipient<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { recipient, domains, .. } = self.plan;
        if self.place.is_none() && *domains == 0 {
            return f.write_str(recipient);
        }
        let (local, domain) = recipient.rsplit_once('@').unwrap_or((recipient, "localhost"));
        f.write_str(local)?;
        self.place.map_or(Ok(()), |place| write!(f, "{place}"))?;
        match self.message.checked_rem(u64::from(*domains)) {
            Some(number) => write!(f, "@d{number}.{domain}"),
            None => write!(f, "@{domain}"),
        }
    }
}

/// Divides `total` by weights; the largest remainders get what is left over, so that the sum is exact.
fn shares(total: usize, weights: &[u64]) -> Vec<usize> {
    let sum: u64 = weights.iter().sum();
    let exact = |weight: &u64| total as u64 * weight;
    let mut shares: Vec<usize> = weights.iter().map(|weight| (exact(weight) / sum.max(1)) as usize).collect();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|place| std::cmp::Reverse(exact(&weights[*place]) % sum.max(1)));
    let left = total - shares.iter().sum::<usize>();
    for place in order.into_iter().take(left) {
        shares[place] += 1;
    }
    shares
}

/// A number from 0 (excluded) to 1 (included).
pub(super) fn unit(random: &mut impl Rng) -> f64 {
    1.0 - random.random_range(0.0..1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn plan(sessions: usize, weights: &[u32]) -> Plan {
        let classes = weights.iter().map(|weight| Class { weight: *weight, ..Class::default() }).collect();
        Plan {
            pace: Pace::Fixed(100.0),
            sessions,
            messages: Some(1),
            time: None,
            warm_up: Duration::ZERO,
            timeout: Duration::from_secs(10),
            ehlo_name: "client.example.test".to_owned(),
            sender: "a@example.test".to_owned(),
            priority: Priority::NORMAL,
            recipient: "b@example.test".to_owned(),
            domains: 0,
            date: String::new(),
            classes,
            seed: 1,
        }
    }

    #[test]
    fn sizes_come_as_often_as_their_weights_say() {
        let sizes: Sizes = "2KB:70,10KB:25,1MB:5".parse().unwrap();
        let mut random = StdRng::seed_from_u64(1);
        let mut counts = [0; 3];
        for _ in 0..100_000 {
            let size = sizes.draw(&mut random);
            counts[[2000, 10_000, 1_000_000].iter().position(|known| *known == size).unwrap()] += 1;
        }
        for (count, wanted) in counts.iter().zip([70_000_i64, 25_000, 5_000]) {
            assert!((count - wanted).abs() < 1000, "{counts:?}");
        }
        let between: Sizes = "1KB..100KB".parse().unwrap();
        let drawn: Vec<u64> = (0..10_000).map(|_| between.draw(&mut random)).collect();
        let mean = drawn.iter().sum::<u64>() / 10_000;
        assert!((49_000..52_000).contains(&mean), "{mean}");
        assert!(drawn.iter().all(|size| (1000..=100_000).contains(size)));
        assert_eq!("2KB".parse::<Sizes>().unwrap().draw(&mut random), 2000);
        for wrong in ["", "2", "2KB..1KB", "2KB:0", "2KB:1,3KB", "2KB:x", ".."] {
            assert!(wrong.parse::<Sizes>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mix_divides_sessions_and_rate_without_losing_any() {
        let plan = plan(20, &[70, 25, 5]);
        let mut all = [0; 3];
        let mut rates = [0.0; 3];
        for worker in 0..3 {
            let sessions = plan.sessions_of(worker, 3).unwrap();
            assert!((6..=7).contains(&sessions.iter().sum::<usize>()), "{sessions:?}");
            for (class, count) in sessions.iter().enumerate() {
                all[class] += count;
                let Pace::Fixed(rate) = plan.pace_of(class, *count) else { panic!("the pace is fixed") };
                rates[class] += rate;
            }
        }
        assert_eq!(all, [14, 5, 1]);
        for (rate, wanted) in rates.iter().zip([70.0, 25.0, 5.0]) {
            assert!((rate - wanted).abs() < 1e-9, "{rates:?}");
        }
    }

    #[test]
    fn messages_go_to_the_domains_in_turn() {
        let plan = Plan { domains: 3, ..plan(1, &[1]) };
        let recipient = |message, place| Recipient { plan: &plan, message, place }.to_string();
        assert_eq!(
            [0, 1, 2, 3].map(|message| recipient(message, None)),
            ["b@d0.example.test", "b@d1.example.test", "b@d2.example.test", "b@d0.example.test",]
        );
        assert_eq!(recipient(4, Some(2)), "b2@d1.example.test");
    }

    #[test]
    fn a_plan_that_cannot_be_carried_out_is_refused() {
        assert_eq!(plan(1, &[1, 1]).sessions_of(0, 1), Err(PlanError::Sessions { sessions: 1, parts: 2 }));
        assert_eq!(plan(1, &[1]).sessions_of(0, 2), Err(PlanError::Sessions { sessions: 1, parts: 2 }));
        assert_eq!(plan(1, &[0]).sessions_of(0, 1), Err(PlanError::Empty));
        let mut endless = plan(1, &[1]);
        endless.classes[0].messages_per_session = Some(0);
        assert_eq!(endless.sessions_of(0, 1), Err(PlanError::Endless));
    }

    #[test]
    fn a_mix_file_names_classes() {
        let mix = parse_mix(
            "[[class]]\nname = \"news\"\nweight = 3\nsize = \"1KB..2KB\"\nrecipients = 50\ntransfer = \"bdat\"\n\
             [[class]]\nname = \"snails\"\nslow = \"64B/100ms\"\nmessages_per_session = 1\npipelining = false\n",
        )
        .unwrap();
        assert_eq!(mix[0].recipients, 50);
        assert_eq!(mix[0].transfer, Transfer::Bdat);
        assert_eq!(mix[1].slow, Some(Slow { piece_size: 64, pause: Duration::from_millis(100) }));
        assert!(!mix[1].pipelining);
        assert!(parse_mix("[[class]]\nsize = \"large\"\n").unwrap_err().to_string().contains("are no sizes"));
        assert!(parse_mix("[[class]]\nsizes = \"1KB\"\n").is_err());
    }
}
