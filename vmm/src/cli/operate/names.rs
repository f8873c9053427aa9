//! Which machines are meant.

use crate::cli::Failure;
use crate::cli::args::Args;
use crate::cli::run::runtime_root;
use crate::client::{ClientError, Kind, Machine, keeper};

/// The namespace that names without one are in, if it was given.
pub(super) fn namespace(args: &Args) -> Result<Option<String>, Failure> {
    args.text("namespace")
}

/// The machines that are named; there has to be one.
pub(super) fn machines(args: &Args) -> Result<Vec<Machine>, Failure> {
    let words = args.words()?;
    if words.is_empty() {
        return Err(Failure::Usage("give the name of a machine; kubevmm ps lists all".into()));
    }
    words.into_iter().map(|word| find(args, word)).collect()
}

/// The same, where one is meant, too, that a fleet keeps and that is not there: it waits to be started, or is not to run.
pub(super) fn machines_or_kept(args: &Args) -> Result<Vec<Machine>, Failure> {
    let words = args.words()?;
    if words.is_empty() {
        return machines(args);
    }
    words.into_iter().map(|word| find_or_kept(args, word)).collect()
}

fn find_or_kept(args: &Args, word: &str) -> Result<Machine, Failure> {
    match find(args, word) {
        Err(Failure::Client(ClientError::NoMachine { namespace, name, directory, .. }))
            if keeper(&runtime_root(args), Kind::Machine, &namespace, &name)?.is_some() =>
        {
            Ok(Machine { namespace, name, directory })
        }
        found => found,
    }
}

/// The one machine that is named.
pub(super) fn machine(args: &Args) -> Result<Machine, Failure> {
    match args.words()?.as_slice() {
        [word] => find(args, word),
        words => Err(Failure::Usage(format!("give the name of one machine; {} were given", words.len()))),
    }
}

/// The machine that a word means.
pub(super) fn find(args: &Args, word: &str) -> Result<Machine, Failure> {
    let (namespace, name) = split(args, word)?;
    Ok(Machine::find(&runtime_root(args), &namespace, &name)?)
}

/// Namespace and name that a word means.
pub(super) fn split(args: &Args, word: &str) -> Result<(String, String), Failure> {
    // What kubectl calls them is understood, too.
    let kinds = ["virtualmachineinstance.kubevirt.io/", "virtualmachineinstances/", "vmi/", "vm/"];
    let word = kinds.iter().find_map(|kind| word.strip_prefix(kind)).unwrap_or(word);
    let given = namespace(args)?;
    let (namespace, name) = match word.split_once('/') {
        Some((namespace, name)) => (namespace, name),
        None => (given.as_deref().unwrap_or("default"), word),
    };
    Ok((namespace.to_owned(), name.to_owned()))
}
