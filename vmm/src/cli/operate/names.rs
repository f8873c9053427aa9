//! Which machines are meant.

use std::io::Write as _;

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
            if is_kept(args, &namespace, &name) =>
        {
            Ok(Machine { namespace, name, directory })
        }
        found => found,
    }
}

/// Whether a fleet is known to keep the machine. One that cannot be asked may have nothing to do with it: that is told beside what is
/// said of the machine.
fn is_kept(args: &Args, namespace: &str, name: &str) -> bool {
    keeper(&runtime_root(args), Kind::Machine, namespace, name).map_or_else(
        |error| {
            let _ = writeln!(std::io::stderr(), "kubevmm: {}", devices::chain(&error));
            false
        },
        |fleet| fleet.is_some(),
    )
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

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::thread;

    use super::*;
    use crate::api::SOCKET;
    use crate::cli::commands;
    use crate::fleet::Folder;

    #[test]
    fn that_there_is_no_machine_is_said_whatever_a_fleet_answers_that_has_nothing_to_do_with_it() {
        let root = tempfile::tempdir().unwrap();
        let fleet = Folder::take(root.path(), "web").unwrap();
        let socket = net::socket::listen(&fleet.path().join(SOCKET)).unwrap();
        thread::spawn(move || socket.incoming().for_each(drop));
        let given = ["typo", "--runtime-dir"].map(OsString::from);
        let given = [&given[..], &[root.path().into()]].concat();
        let args = Args::parse(commands::find("stop").unwrap(), &given).unwrap();
        let asked = keeper(root.path(), Kind::Machine, "default", "typo");
        assert!(matches!(asked, Err(ClientError::Broken { .. })), "{asked:?}");
        let found = machines_or_kept(&args).unwrap_err();
        assert!(matches!(found, Failure::Client(ClientError::NoMachine { .. })), "{found:?}");
    }
}
