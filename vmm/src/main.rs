//! `kubevmm`: runs the virtual machine of a KubeVirt manifest.

use std::process::ExitCode;

fn main() -> ExitCode {
    vmm::cli::main(std::env::args_os().skip(1))
}
