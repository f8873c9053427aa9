//! Devices of the ICH9 south bridge and the other fixed devices of the machine.
