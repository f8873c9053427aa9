//! A disk whose writes are marked.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, PoisonError, RwLock};

use super::Marks;
use crate::disk::{
    Completion, Disk, DiskError, DiskInfo, DiskQueue, NewOverlay, Request, Stretch, SubmitError,
};
use crate::host_file::HostFile;

/// A disk of any format, and marks on what is written to it through the queues that are opened here.
#[derive(Clone, Debug)]
pub struct MarkedDisk {
    disk: Arc<RwLock<Arc<dyn Disk>>>,
    marks: Arc<Marks>,
}

impl MarkedDisk {
    /// Marks what is written to `disk` from now on, when somebody wants to know.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk: Arc::new(RwLock::new(disk)), marks: Arc::default() }
    }

    fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another disk, which shows the same, in the place of the one that is there, and gives that back. Queues that are open stay
    /// with the old one.
    pub fn exchange(&self, new: Arc<dyn Disk>) -> Arc<dyn Disk> {
        std::mem::replace(&mut self.disk.write().unwrap_or_else(PoisonError::into_inner), new)
    }

    /// Its marks.
    pub fn marks(&self) -> &Arc<Marks> {
        &self.marks
    }
}

impl Disk for MarkedDisk {
    fn info(&self) -> DiskInfo {
        self.disk().info()
    }

    fn refresh(&self) -> Result<DiskInfo, DiskError> {
        self.disk().refresh()
    }

    fn open_queue(&self, depth: u16) -> Result<Box<dyn DiskQueue>, DiskError> {
        let queue = self.disk().open_queue(depth)?;
        Ok(Box::new(MarkedQueue { queue, marks: Arc::clone(&self.marks), flying: Flying::default() }))
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.disk().sync()
    }

    fn stretch(&self, offset: u64, max: u64) -> io::Result<(Stretch, u64)> {
        self.disk().stretch(offset, max)
    }

    fn places(&self, offset: u64) -> io::Result<Vec<u64>> {
        self.disk().places(offset)
    }

    fn host_file(&self) -> Option<HostFile> {
        self.disk().host_file()
    }

    fn bases(&self) -> Vec<HostFile> {
        self.disk().bases()
    }

    fn hold(&self) -> Result<(), DiskError> {
        self.disk().hold()
    }

    fn is_unclaimed(&self) -> bool {
        self.disk().is_unclaimed()
    }

    fn let_go(&self) -> Result<(), DiskError> {
        self.disk().let_go()
    }

    fn overlay(&self, new: &NewOverlay<'_>) -> Result<Arc<dyn Disk>, DiskError> {
        self.disk().overlay(new)
    }

    fn lend(&self) -> Result<(), DiskError> {
        self.disk().lend()
    }
}

/// Requests whose completion has not been taken. They are kept also while nobody asks: who begins to ask wants to
/// know of those that are under way then.
#[derive(Debug, Default)]
struct Flying {
    places: Vec<Option<Flight>>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Flight {
    /// As the queue's user gave it.
    token: u64,
    /// First byte and number of bytes that it changes.
    changes: Option<(u64, u64)>,
}

impl Flying {
    /// Takes a request in, and gives it a number.
    fn begin(&mut self, flight: Flight) -> usize {
        if let Some(number) = self.free.pop()
            && let Some(place) = self.places.get_mut(number)
        {
            *place = Some(flight);
            return number;
        }
        self.places.push(Some(flight));
        self.places.len() - 1
    }

    fn end(&mut self, number: usize) -> Option<Flight> {
        let flight = self.places.get_mut(number)?.take()?;
        self.free.push(number);
        Some(flight)
    }
}

struct MarkedQueue {
    queue: Box<dyn DiskQueue>,
    marks: Arc<Marks>,
    flying: Flying,
}

/// What a request changes on the disk.
fn changes(request: &Request) -> Option<(u64, u64)> {
    match request {
        Request::Read { .. } | Request::Flush => None,
        Request::Write { offset, bufs } => Some((*offset, bufs.total_len())),
        Request::Discard { offset, len } | Request::WriteZeroes { offset, len, .. } => Some((*offset, *len)),
    }
}

impl MarkedQueue {
    /// A request is over.
    fn land(&mut self, completion: Completion) -> Completion {
        let number = usize::try_from(completion.token).unwrap_or(usize::MAX);
        let Some(flight) = self.flying.end(number) else { return completion };
        if let Some((offset, len)) = flight.changes {
            // One that failed may have changed something, too.
            self.marks.mark(offset, len);
        }
        Completion { token: flight.token, ..completion }
    }
}

impl DiskQueue for MarkedQueue {
    fn submit(&mut self, request: Request, token: u64) -> Result<(), SubmitError> {
        let number = self.flying.begin(Flight { token, changes: changes(&request) });
        let submitted = self.queue.submit(request, number as u64);
        if submitted.is_err() {
            self.flying.end(number);
        }
        submitted
    }

    fn flush_submissions(&mut self) {
        self.queue.flush_submissions();
    }

    fn completion_fd(&self) -> BorrowedFd<'_> {
        self.queue.completion_fd()
    }

    fn acknowledge(&mut self) {
        self.queue.acknowledge();
    }

    fn next_completion(&mut self) -> Option<Completion> {
        let completion = self.queue.next_completion()?;
        Some(self.land(completion))
    }

    fn in_flight(&self) -> usize {
        self.queue.in_flight()
    }

    fn wait(&mut self) {
        self.queue.wait();
    }
}

impl Drop for MarkedQueue {
    fn drop(&mut self) {
        // What nobody has waited for changes the disk all the same.
        if self.queue.in_flight() > 0 {
            self.drain(&mut |_| ());
        }
    }
}
