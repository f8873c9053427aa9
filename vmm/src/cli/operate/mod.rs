//! The commands that see and operate machines that run: clients of their APIs.

mod age;
mod change;
pub(super) mod commands;
mod console;
mod events;
mod guest;
mod kept;
mod logs;
mod migrate;
mod migrate_order;
mod names;
mod passing;
mod show;
mod snapshot;
mod table;
mod top;
mod verbs;
mod wait;

use super::Failure;
use super::args::Args;

/// Runs the command if it is one of these.
pub(super) fn main(name: &str, args: &Args) -> Option<Result<u8, Failure>> {
    Some(match name {
        "ps" => show::ps(args),
        "status" => show::status(args),
        "console" => console::main(args),
        "logs" => logs::main(args),
        "top" => top::main(args),
        "events" => events::main(args),
        "start" => kept::start(args),
        "scale" => kept::scale(args),
        "fleet" => kept::list(args),
        "wait" => wait::main(args),
        "migrate" => migrate::migrate(args),
        "migrate-cancel" => migrate::cancel(args),
        "snapshot" => snapshot::main(args),
        _ => match guest::main(name, args).or_else(|| change::main(name, args)) {
            Some(done) => done,
            None => verbs::main(name, args)?,
        },
    })
}
