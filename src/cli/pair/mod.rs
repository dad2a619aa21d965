//! `rohrpost pair`: how the two boxes stand, and what an operator changes about it.
//!
//! A change is begun at once and takes a while: the command waits until it is seen to be done, or says how far it came.

mod key;

use super::check;
use super::text::{exit_code, plain, write_json};
use crate::config::{self, Period};
use crate::control::{
    Answer, ArbiterKind, Client, ClientError, IdentityStatus, PairCommand, PairStatus, Request, Versioned,
};
use crate::mirror::arbiter::Trouble;
use crate::mirror::register::{Mode, Node};
use clap::{Args, Subcommand, ValueEnum};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The pair.
#[derive(Clone, Debug, Args)]
pub struct PairArgs {
    /// The configuration, which names the socket of the appliance.
    #[arg(long, short, value_name = "FILE", default_value = super::CONFIG_PATH_DEFAULT, global = true)]
    pub config: PathBuf,
    /// One JSON object instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    /// How long to wait until a change is done; 0s: not at all.
    #[arg(long, value_name = "DURATION", default_value = "60s", global = true)]
    pub wait: Period,
    #[command(subcommand)]
    pub action: PairAction,
}

/// What to do with the pair.
#[derive(Clone, Debug, Subcommand)]
pub enum PairAction {
    /// Say how both identities stand, as this box sees it.
    Status,
    /// Make the key of this box, with which its links to the partner are encrypted, and say what the partner has to know of it.
    Key(key::KeyArgs),
    /// Bring an identity into being: on its home box, once in a pair's life.
    Create {
        /// Which: that of this box if nothing is said.
        identity: Option<Identity>,
    },
    /// Give an identity to the partner: sessions end in order, and no message is lost or sent twice.
    Move {
        /// Which.
        identity: Identity,
    },
    /// Work for an identity alone, until `rejoin`: before the partner is taken away for long.
    Solo {
        /// Which.
        identity: Identity,
        /// With a stale copy, until the other box is back: what that one has acknowledged since is lost.
        #[arg(long, requires = "partner_is_off")]
        accept_loss: bool,
        /// You vouch for it that the other box is off, and stays off until this is done.
        #[arg(long)]
        partner_is_off: bool,
    },
    /// Take an identity over from the partner, whether it is heard or not. With the manual arbiter also: work without a partner
    /// that is off, until it is back.
    TakeOver {
        /// Which.
        identity: Identity,
        /// You vouch for it that the other box is off, and stays off until this is done. Needed with the manual arbiter.
        #[arg(long)]
        partner_is_off: bool,
    },
    /// Work for an identity with the partner again; or, where this box's copy is damaged and nothing counts on it, begin an
    /// empty one.
    Rejoin {
        /// Which.
        identity: Identity,
    },
}

/// One of the two identities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Identity {
    /// The one whose home is box a.
    A,
    /// The one whose home is box b.
    B,
}

impl From<Identity> for Node {
    fn from(identity: Identity) -> Node {
        match identity {
            Identity::A => Node::A,
            Identity::B => Node::B,
        }
    }
}

/// The command: to standard output, errors to standard error.
pub fn pair(args: &PairArgs) -> ExitCode {
    if let PairAction::Key(args) = &args.action {
        return key::key(args);
    }
    match config::load(&args.config) {
        Ok(config) => {
            let home = config.pair.as_ref().map_or(Node::A, crate::appliance::settings::node);
            let command = command(&args.action, home);
            exit_code(write_pair(&config.admin.socket, command, *args.wait, args.json, &mut io::stdout().lock()))
        }
        Err(error) => check::refuse(&check::show(&error)),
    }
}

/// What the appliance is asked, for what the operator typed on a box with this home.
fn command(action: &PairAction, home: Node) -> PairCommand {
    match *action {
        PairAction::Status | PairAction::Key(_) => PairCommand::Status,
        PairAction::Create { identity } => PairCommand::Create { identity: identity.map_or(home, Node::from) },
        PairAction::Move { identity } => PairCommand::Move { identity: identity.into() },
        PairAction::Solo { identity, accept_loss, partner_is_off } => {
            PairCommand::Solo { identity: identity.into(), accept_loss, partner_is_off }
        }
        PairAction::TakeOver { identity, partner_is_off } => {
            PairCommand::TakeOver { identity: identity.into(), partner_is_off }
        }
        PairAction::Rejoin { identity } => PairCommand::Rejoin { identity: identity.into() },
    }
}

/// Whether what was asked is done, as far as this box can see.
fn is_done(command: PairCommand, pair: &PairStatus) -> bool {
    let of = |identity: Node| &pair.identities[identity as usize];
    match command {
        PairCommand::Status => true,
        PairCommand::Create { identity } | PairCommand::TakeOver { identity, .. } => of(identity).works,
        PairCommand::Move { identity } => of(identity).owner == Some(pair.node.partner()),
        PairCommand::Solo { identity, .. } => of(identity).works && of(identity).mode == Some(Mode::Solo),
        PairCommand::Rejoin { identity } => {
            let status = of(identity);
            // The register says so a moment before its owner here works by it.
            status.mode == Some(Mode::Mirrored) && (status.works || status.owner == Some(pair.node.partner()))
        }
    }
}

/// How often it is looked whether a change is done.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Asks the appliance behind `socket`, waits so long until it is done, and writes how the pair stands then.
pub fn write_pair(
    socket: &Path,
    command: PairCommand,
    wait: Duration,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), ClientError> {
    let mut client = Client::connect(socket)?;
    let mut pair = ask(&mut client, command)?;
    let begun = Instant::now();
    while !is_done(command, &pair) && begun.elapsed() < wait {
        std::thread::sleep(LOOK_PAUSE);
        pair = ask(&mut client, PairCommand::Status)?;
    }
    let done = is_done(command, &pair);
    if json {
        write_json(&Versioned::new(&pair), out)?;
    } else {
        write_status(&pair, out)?;
    }
    if done || wait.is_zero() {
        return Ok(());
    }
    let text = format!("it has begun, and is not done after {} s: see above", wait.as_secs());
    Err(ClientError::Refused { text })
}

fn ask(client: &mut Client, command: PairCommand) -> Result<PairStatus, ClientError> {
    let mut status = None;
    client.ask(&Request::Pair(command), |answer| {
        if let Answer::Pair { pair } = answer {
            status = Some(*pair);
        }
        Ok(())
    })?;
    status.ok_or_else(|| client.strange("no status of the pair"))
}

pub(super) fn write_status(pair: &PairStatus, out: &mut dyn Write) -> io::Result<()> {
    let heard = if pair.identities.iter().all(|identity| identity.partner_heard) { "heard" } else { "NOT HEARD" };
    writeln!(out, "this is box {}; its partner, box {}, is {heard}", pair.node, pair.node.partner())?;
    match (pair.arbiter, &pair.store_error) {
        (ArbiterKind::Etcd, None) => {}
        (ArbiterKind::Etcd, Some(error)) => writeln!(out, "ETCD DOES NOT ANSWER: {}", plain(error))?,
        (ArbiterKind::Manual, error) => {
            writeln!(out, "the arbiter is manual: when a box is not heard, nothing is taken over but by command")?;
            if let Some(error) = error {
                writeln!(out, "NO REGISTER CAN BE KEPT: {}", plain(error))?;
            }
        }
    }
    if pair.orders_are_same == Some(false) {
        writeln!(
            out,
            "STANDING ORDERS DIFFER from the partner's: if that lasts for more than seconds, the event log says why"
        )?;
    }
    for status in &pair.identities {
        let IdentityStatus { identity, stage, epoch, owner, mode, trouble, .. } = status;
        let mode = match mode {
            Some(Mode::Mirrored) => "mirrored",
            Some(Mode::Solo) => "SOLO",
            None => "",
        };
        match owner {
            Some(owner) => {
                writeln!(out, "identity {identity}  owned by box {owner}, {mode}, epoch {epoch}; here {stage}")?
            }
            None => writeln!(out, "identity {identity}  no register; here {stage}")?,
        }
        if let Some(trouble) = trouble {
            writeln!(out, "            NEEDS YOU: {trouble}")?;
            let partner = pair.node.partner();
            match trouble {
                Trouble::CommandNeeded => {
                    let command = format!("rohrpost pair take-over {identity} --partner-is-off");
                    writeln!(out, "            here, once box {partner} is off for certain: {command}")?;
                }
                Trouble::Unmet | Trouble::RegisterSplit => {
                    let command = format!("rohrpost pair solo {identity} --accept-loss --partner-is-off");
                    writeln!(out, "            here, once box {partner} is off and its mail given up: {command}")?;
                }
                _ => {}
            }
        }
        if let Some(repairs) = status.repairs() {
            writeln!(out, "            {repairs}")?;
        }
    }
    Ok(())
}
