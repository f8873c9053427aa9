//! The kubevmm process: plan, machine, vCPUs, state driver, command line
