//! `rohrpost pair`: what an operator does about a pair of boxes.

mod key;

use clap::{Args, Subcommand};
use std::process::ExitCode;

#[derive(Clone, Debug, Args)]
pub struct PairArgs {
    #[command(subcommand)]
    pub action: PairAction,
}

/// What to do about the pair.
#[derive(Clone, Debug, Subcommand)]
pub enum PairAction {
    /// Make the key of this box, with which its links to the partner are encrypted, and say what the partner has to know of it.
    Key(key::KeyArgs),
}

/// The command: to standard output, errors to standard error.
pub fn pair(args: &PairArgs) -> ExitCode {
    match &args.action {
        PairAction::Key(args) => key::key(args),
    }
}
