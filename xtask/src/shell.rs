//! A shell in the test host, for developers.

use std::process::ExitCode;
use std::time::Duration;

use tests::host::orders::Orders;

use crate::cargo::{Programs, Subject};
use crate::error::Result;
use crate::host::{Boot, Host};
use crate::store::Store;

pub(crate) fn run(store: &Store) -> Result<ExitCode> {
    let host = Host::prepare(store, &Programs::build(store, &Subject::Release)?)?;
    let boot = Boot {
        orders: Orders::Shell,
        terminal: true,
        counting: false,
        memory: 4096,
        drives: Vec::new(),
        silence: None,
        limit: Duration::from_secs(24 * 3600),
    };
    host.run(&boot, |_| {})?;
    Ok(ExitCode::SUCCESS)
}
