//! Init of a test guest: says who the guest is, keeps a shell on the console,
//! obeys the power button, and answers operations on a virtio port.

mod agent;
mod block;
mod button;
mod identity;
mod load;
mod shell;
mod work;

use std::process::{Command, ExitStatus};
use std::thread;
use std::time::Duration;

use guest::{early, protocol, traffic};

fn main() {
    if std::process::id() != 1 {
        let words: Vec<String> = std::env::args().skip(1).collect();
        if let [word, peer, folder] = words.as_slice()
            && word == "work"
        {
            work::run(peer, folder.as_ref());
        }
        // A service of a larger guest.
        agent::serve();
    }
    println!("{}", protocol::FIRST_LINE);
    if let Err(error) = early::mount_basics() {
        println!("guest: cannot mount the basics: {error}");
    }
    for problem in early::insert_modules() {
        println!("guest: {problem}");
    }
    if let Some(address) = early::argument("guest.traffic") {
        serve_traffic(&address);
    }
    if let Some(sizes) = early::argument("guest.writes") {
        load::write(&sizes);
    }
    identity::take_hostname();
    if early::argument("guest.button").as_deref() != Some("ignore") {
        thread::spawn(button::obey);
    }
    // Another agent than this program may have the port.
    match early::argument("guest.agent") {
        Some(service) => drop(thread::spawn(move || agent::leave_to(&service))),
        None => drop(thread::spawn(|| agent::serve())),
    }
    println!("{}", identity::greeting());
    println!("{}", protocol::READY);
    loop {
        if let Err(error) = shell::run() {
            println!("guest: no shell: {error}");
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// Serves traffic at this address, and does nothing else: for measurements.
fn serve_traffic(address: &str) -> ! {
    for arguments in
        ["link set lo up".to_owned(), format!("addr add {address} dev eth0"), "link set eth0 up".to_owned()]
    {
        let status = Command::new("/bin/busybox").arg("ip").args(arguments.split(' ')).status();
        if !status.as_ref().is_ok_and(ExitStatus::success) {
            println!("guest: ip {arguments}: {status:?}");
        }
    }
    loop {
        let ended = traffic::serve();
        println!("guest: traffic: {ended:?}");
        thread::sleep(Duration::from_secs(1));
    }
}
