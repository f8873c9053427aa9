//! A fake machine and a fake driver against real functions, devices and I/O threads.

mod activation;
mod cfg_window;
mod chaos;
mod devices;
mod driver;
mod interrupts;
mod life;
mod machine;
mod snapshots;
mod stub;
