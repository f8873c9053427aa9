//! What tests of several modules need: a network namespace of their own.

use crate::netlink::Namespace;

/// Runs `test` in a new network namespace; says so and does nothing where that is not allowed.
pub(crate) fn in_namespace(test: impl FnOnce() + Send) {
    match Namespace::create() {
        Ok(namespace) => namespace.run(test).unwrap(),
        Err(error) => {
            let name = std::thread::current().name().unwrap_or("a test").to_owned();
            eprintln!("{name}: skipped, not allowed to make a network namespace: {error}");
        }
    }
}

/// Runs a program that must succeed; what it prints.
pub(crate) fn run(program: &str, arguments: &str) -> String {
    let output = std::process::Command::new(program).args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
