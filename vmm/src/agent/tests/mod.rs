//! The agent's thread against peers that do as they are told, and against Debian's agent.

mod credentials;
mod hostile;
mod identity;
mod obedient;
mod peer;
mod real;
