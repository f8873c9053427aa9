//! Device models and buses of the q35-style machine
