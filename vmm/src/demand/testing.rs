//! A memory that does not come, for tests.

use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use devices::GuestRam;
use vm_memory::GuestAddress;

use super::{Before, Connection, Demand, Link, Service, Shelf, serve};
use crate::dirty::PageSet;
use crate::migration::transport::Stream;

/// All of a memory, none of which comes: who has it is there, and sends nothing.
pub(crate) struct Stalled {
    pub(crate) demand: Demand,
    there: Mutex<Option<Sender<()>>>,
}

struct Library {
    ram: GuestRam,
    is_there: Receiver<()>,
}

impl Shelf for Library {
    fn holds(&mut self) -> Result<PageSet, String> {
        Ok(PageSet::all(&self.ram))
    }

    fn read(&mut self, _: GuestAddress, _: &mut [u8]) -> Result<(), String> {
        // Nobody says anything there.
        let _ = self.is_there.recv();
        Err("it is gone".into())
    }
}

/// One that answers once.
struct Once(Option<Library>);

impl Link for Once {
    fn connect(&mut self) -> Result<Connection, String> {
        let mut library = self.0.take().ok_or("it is gone")?;
        let (here, there) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            let there = Connection::new(Stream::Unix(there)).unwrap();
            serve(there, &mut library, Service::default(), &mut |_| {})
        });
        Ok(Connection::new(Stream::Unix(here)).unwrap())
    }
}

impl Stalled {
    pub(crate) fn begin(ram: &GuestRam) -> Self {
        let (there, is_there) = mpsc::channel();
        let link = Once(Some(Library { ram: ram.clone(), is_there }));
        let demand = Demand::begin(ram, Before::Outdated, Box::new(link)).unwrap();
        Self { demand, there: Mutex::new(Some(there)) }
    }

    /// Who has it is gone.
    pub(crate) fn lose(&self) {
        *self.there.lock().unwrap() = None;
    }
}
