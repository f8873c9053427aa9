//! Memory that comes on demand, between threads of this process.

mod huge;

use std::num::NonZeroU64;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use devices::GuestRam;
use ram::{PAGE, Ram};
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::dirty::{PageRun, PageSet};
use crate::migration::bandwidth::Bandwidth;
use crate::migration::transport::Stream;
use crate::migration::wire::Message;
use crate::sys::memory::discard;
use crate::sys::userfault::is_allowed;

const PAGES: u64 = 600;
const SOON: Duration = Duration::from_secs(60);

fn memory() -> GuestRam {
    let ranges = [(GuestAddress(0), 600 * PAGE), (GuestAddress(1 << 30), 8 * PAGE)];
    Arc::new(Ram::from_ranges(&ranges).unwrap())
}

/// A memory whose page number *n* is full of a number made of *n*; every fifth is zero.
fn full() -> GuestRam {
    let ram = memory();
    for page in (0..PAGES).filter(|page| !page.is_multiple_of(5)) {
        ram.write_slice(&[byte(page); PAGE], GuestAddress(page << 12)).unwrap();
    }
    ram.write_slice(&[9; PAGE], GuestAddress(1 << 30)).unwrap();
    ram
}

fn byte(page: u64) -> u8 {
    if page.is_multiple_of(5) { 0 } else { u8::try_from(page % 200 + 1).unwrap() }
}

/// Pages of another memory.
struct Library {
    ram: GuestRam,
    /// Reading this page fails.
    torn: Option<u64>,
}

impl Shelf for Library {
    fn holds(&mut self) -> Result<PageSet, String> {
        let mut holds = PageSet::none(&self.ram);
        holds.insert(PageRun { start: GuestAddress(0), pages: PAGES });
        holds.insert(PageRun { start: GuestAddress(1 << 30), pages: 1 });
        // As whoever has memory in huge pages has them.
        holds.make_whole(pages_together(&self.ram));
        Ok(holds)
    }

    fn read(&mut self, start: GuestAddress, page: &mut [u8]) -> Result<(), String> {
        if self.torn == Some(start.0 >> 12) {
            return Err("it is torn".into());
        }
        self.ram.read_slice(page, start).map_err(|error| error.to_string())
    }
}

/// How the other side of the next connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// Sends all.
    Generous,
    /// Sends only what is asked for.
    Sparing,
    /// Sends all, but so slowly that it takes an hour.
    Slow,
    /// Cannot read this page.
    Torn(u64),
    /// Does not answer.
    Away,
}

struct Post {
    library: GuestRam,
    moods: Arc<Mutex<Vec<Mood>>>,
    there: Arc<Mutex<Option<Stream>>>,
    served: mpsc::Sender<Served>,
}

impl Link for Post {
    fn connect(&mut self) -> Result<Connection, String> {
        let mut moods = self.moods.lock().unwrap();
        let mood = if moods.len() > 1 { moods.remove(0) } else { moods[0] };
        if mood == Mood::Away {
            return Err("nobody answers".into());
        }
        let (here, there) = std::os::unix::net::UnixStream::pair().unwrap();
        let (here, there) = (Stream::Unix(here), Stream::Unix(there));
        *self.there.lock().unwrap() = Some(there.try_clone().unwrap());
        let (served, ram) = (self.served.clone(), self.library.clone());
        thread::spawn(move || {
            let torn = if let Mood::Torn(page) = mood { Some(page) } else { None };
            let rest = match mood {
                Mood::Generous | Mood::Slow => Rest::AtOnce,
                _ => Rest::AfterQuiet(Duration::from_secs(3600)),
            };
            let bandwidth =
                (mood == Mood::Slow).then(|| Bandwidth::new(NonZeroU64::new((PAGES << 12) / 3600).unwrap()));
            let service = Service { rest, window: 4, bandwidth, ..Service::default() };
            let mut library = Library { ram, torn };
            let result = serve(Connection::new(there).unwrap(), &mut library, service, &mut |_| {});
            let _ = served.send(result);
        });
        Ok(Connection::new(here).unwrap())
    }
}

struct Came {
    ram: GuestRam,
    demand: Demand,
    moods: Arc<Mutex<Vec<Mood>>>,
    /// The other end of the last connection.
    there: Arc<Mutex<Option<Stream>>>,
    served: Receiver<Served>,
    news: Receiver<News>,
}

impl Came {
    fn begin(moods: &[Mood]) -> Self {
        let ram = memory();
        // What was there before is not to be seen.
        ram.write_slice(&[0xee; PAGE], GuestAddress(0x5000)).unwrap();
        Self::from(ram, full(), Before::Outdated, moods).unwrap()
    }

    fn from(ram: GuestRam, library: GuestRam, before: Before, moods: &[Mood]) -> Result<Self, DemandError> {
        let moods = Arc::new(Mutex::new(moods.to_vec()));
        let (sender, served) = mpsc::channel();
        let there = Arc::default();
        let post = Post { library, moods: Arc::clone(&moods), there: Arc::clone(&there), served: sender };
        let demand = Demand::begin(&ram, before, Box::new(post))?;
        let (sender, news) = mpsc::channel();
        demand.report_to(move |news| drop(sender.send(news)));
        Ok(Self { ram, demand, moods, there, served, news })
    }

    fn page(&self, page: u64) -> u8 {
        let mut bytes = [0; PAGE];
        self.ram.read_slice(&mut bytes, GuestAddress(page << 12)).unwrap();
        assert!(bytes.iter().all(|byte| *byte == bytes[0]), "page {page} is mixed");
        bytes[0]
    }

    /// The other side is gone.
    fn lose(&self) {
        self.there.lock().unwrap().as_ref().unwrap().cut();
    }

    fn news(&self) -> News {
        self.news.recv_timeout(SOON).unwrap()
    }
}

#[test]
fn all_comes_by_itself_and_the_other_side_is_free() {
    if !is_allowed() {
        return;
    }
    let came = Came::begin(&[Mood::Generous]);
    for page in (0..PAGES).rev() {
        assert_eq!(came.page(page), byte(page), "page {page}");
    }
    assert_eq!(came.news(), News::Complete);
    assert_eq!(came.served.recv_timeout(SOON).unwrap().ended, Ok(()));
    assert_eq!((came.demand.lacking_bytes(), came.page(1 << 18)), (0, 9));
    // Memory is as any other now.
    discard(&came.ram, GuestAddress(0x1000), 0x1000).unwrap();
    assert_eq!(came.page(1), 0);
}

#[test]
fn only_what_is_touched_comes_and_the_order_is_known() {
    if !is_allowed() {
        return;
    }
    let came = Came::begin(&[Mood::Sparing]);
    assert_eq!((came.page(101), came.page(7), came.page(103)), (byte(101), byte(7), byte(103)));
    assert_eq!(came.demand.lacking_bytes(), (PAGES + 1 - 8) << 12);
    assert_eq!(came.demand.faults(), 2);
    // Somebody who must not fault.
    came.demand.fetch(GuestAddress(0x9123), SOON).unwrap();
    assert_eq!(came.page(9), byte(9));
    came.demand.release();
    let served = came.served.recv_timeout(SOON).unwrap();
    assert_eq!(served.ended, Ok(()), "it need not keep what nobody needs");
    let runs: Vec<_> = served.touched.iter().map(|run| (run.start.0 >> 12, run.pages)).collect();
    assert_eq!(runs, [(100, 4), (4, 8)]);
}

#[test]
fn a_limit_holds_back_nothing_that_is_waited_for() {
    if !is_allowed() {
        return;
    }
    let came = Came::begin(&[Mood::Slow]);
    // The first pages that nobody waits for are on their way, and take a long time.
    while came.demand.lacking_bytes() == (PAGES + 1) << 12 {
        thread::sleep(Duration::from_millis(1));
    }
    for page in (100..PAGES).step_by(50) {
        came.demand.fetch(GuestAddress(page << 12), SOON).unwrap();
        assert_eq!(came.page(page), byte(page));
    }
    assert!(came.demand.lacking_bytes() > (PAGES / 2) << 12, "what nobody waits for is limited");
    came.demand.release();
}

#[test]
fn what_was_dropped_is_not_filled_with_what_it_was() {
    if !is_allowed() {
        return;
    }
    let came = Came::begin(&[Mood::Sparing]);
    assert_eq!(came.page(1), byte(1));
    discard(&came.ram, GuestAddress(0), 0x8000).unwrap();
    assert_eq!([1, 2, 6, 7].map(|page| came.page(page)), [0; 4]);
    assert_eq!((came.page(8), came.demand.faults()), (byte(8), 2));
    came.demand.release();
}

#[test]
fn pages_that_are_dropped_while_they_come_are_zero_or_nothing() {
    if !is_allowed() {
        return;
    }
    let came = Came::begin(&[Mood::Generous]);
    let dropper = {
        let ram = came.ram.clone();
        thread::spawn(move || {
            for page in (0..PAGES).filter(|page| page.is_multiple_of(3)) {
                discard(&ram, GuestAddress(page << 12), 0x1000).unwrap();
            }
        })
    };
    for page in 0..PAGES {
        let seen = came.page(page);
        assert!(seen == byte(page) || page.is_multiple_of(3) && seen == 0, "page {page} is {seen}");
    }
    dropper.join().unwrap();
    for page in 0..PAGES {
        assert_eq!(came.page(page), if page.is_multiple_of(3) { 0 } else { byte(page) }, "page {page}");
    }
    assert_eq!(came.news(), News::Complete);
}

#[test]
fn when_the_other_side_is_lost_whoever_waits_goes_on_waiting_until_it_is_back() {
    if !is_allowed() {
        return;
    }
    let came = Came::begin(&[Mood::Sparing, Mood::Away]);
    assert_eq!(came.page(3), byte(3));
    came.lose();
    assert!(matches!(came.news(), News::Lost(_)));
    assert_eq!(came.news(), News::Lost("nobody answers".into()));
    assert!(came.demand.fetch(GuestAddress(0x4_0000), SOON).is_err());
    let (sender, read) = mpsc::channel();
    let ram = came.ram.clone();
    thread::spawn(move || sender.send(ram.read_obj::<u8>(GuestAddress(500 << 12)).unwrap()).unwrap());
    thread::sleep(Duration::from_millis(300));
    assert!(read.try_recv().is_err(), "it was shown something");
    // Page 500 goes with the one that cannot be read.
    came.moods.lock().unwrap()[0] = Mood::Torn(501);
    assert_eq!(came.news(), News::Lost("it is torn".into()));
    assert!(read.try_recv().is_err(), "it was shown something");
    came.moods.lock().unwrap()[0] = Mood::Generous;
    assert_eq!(read.recv_timeout(SOON).unwrap(), byte(500));
    assert_eq!(came.news(), News::Back);
    assert_eq!(came.news(), News::Complete);
    assert_eq!(came.page(501), byte(501));
}

/// Connections that a test serves by hand.
struct Hand(Receiver<Stream>);

impl Link for Hand {
    fn connect(&mut self) -> Result<Connection, String> {
        let stream = self.0.recv_timeout(SOON).map_err(|error| error.to_string())?;
        Connection::new(stream).map_err(|error| error.to_string())
    }
}

/// The other side of the next connection.
fn hand_over(to: &mpsc::Sender<Stream>) -> Connection {
    let (here, there) = std::os::unix::net::UnixStream::pair().unwrap();
    to.send(Stream::Unix(here)).unwrap();
    Connection::new(Stream::Unix(there)).unwrap()
}

#[test]
fn what_is_touched_while_the_connection_is_made_anew_is_asked_for() {
    if !is_allowed() {
        return;
    }
    // So large that the names of all pages are more than a socket takes in: whoever says them waits until they are read.
    let ram: GuestRam = Arc::new(Ram::from_ranges(&[(GuestAddress(0), 64 << 30)]).unwrap());
    let holds = PageSet::all(&ram);
    let (sender, link) = mpsc::channel();
    let mut first = hand_over(&sender);
    let (here, of_first) = (ram.clone(), holds.clone());
    let begun = thread::spawn(move || Demand::begin(&here, Before::Untouched, Box::new(Hand(link))).unwrap());
    connection::send(&mut first.writer, &of_first, Message::Holds).unwrap();
    assert_eq!(connection::receive_lacks(&mut first.reader, &holds).unwrap(), Some(holds.clone()));
    let demand = begun.join().unwrap();

    let mut second = hand_over(&sender);
    first.cut.cut();
    connection::send(&mut second.writer, &holds, Message::Holds).unwrap();
    assert!(matches!(second.reader.read().unwrap(), Message::Lacks(piece) if !piece.last));
    let toucher = thread::spawn(move || ram.read_obj::<u8>(GuestAddress(0x7000)).unwrap());
    while demand.faults() == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    while !matches!(second.reader.read().unwrap(), Message::Lacks(piece) if piece.last) {}
    assert_eq!(second.reader.read().unwrap(), Message::Want(vec![0x7000]));
    second.cut.cut();
    demand.release();
    toucher.join().unwrap();
}

#[test]
fn who_needs_nothing_for_long_says_that_it_is_there_however_busy_it_is() {
    if !is_allowed() {
        return;
    }
    let (sender, link) = mpsc::channel();
    let mut library = hand_over(&sender);
    let ram = memory();
    let here = ram.clone();
    let begun = thread::spawn(move || Demand::begin(&here, Before::Untouched, Box::new(Hand(link))).unwrap());
    let holds = Library { ram: ram.clone(), torn: None }.holds().unwrap();
    connection::send(&mut library.writer, &holds, Message::Holds).unwrap();
    connection::receive_lacks(&mut library.reader, &holds).unwrap();
    let demand = begun.join().unwrap();
    let (over, is_over) = mpsc::channel::<()>();
    let busy = thread::spawn(move || {
        while is_over.recv_timeout(Duration::from_millis(50)) == Err(mpsc::RecvTimeoutError::Timeout) {
            discard(&ram, GuestAddress(0), 0x1000).unwrap();
            assert_eq!(ram.read_obj::<u8>(GuestAddress(0)).unwrap(), 0);
        }
    });
    library.cut.set_patience(SOON).unwrap();
    assert_eq!(library.reader.read().unwrap(), Message::Alive);
    drop(over);
    busy.join().unwrap();
    library.cut.cut();
    demand.release();
}

#[test]
fn who_ends_waits_for_nobody_who_cannot_be_reached() {
    if !is_allowed() {
        return;
    }
    let came = Came::begin(&[Mood::Sparing, Mood::Away]);
    came.lose();
    assert!(matches!(came.news(), News::Lost(_)));
    let begun = Instant::now();
    came.demand.release();
    assert!(begun.elapsed() < PATIENCE);
    assert!(came.served.recv_timeout(SOON).unwrap().ended.is_err());
}

#[test]
fn a_memory_that_is_let_go_of_while_somebody_may_need_it_is_kept_by_the_other_side() {
    if !is_allowed() {
        return;
    }
    let came = Came::begin(&[Mood::Sparing]);
    drop(came.demand);
    assert!(came.served.recv_timeout(SOON).unwrap().ended.is_err());
}

#[test]
fn nobody_there_is_an_error() {
    if !is_allowed() {
        return;
    }
    let (moods, served) = (Arc::new(Mutex::new(vec![Mood::Away])), mpsc::channel().0);
    let post = Post { library: full(), moods, there: Arc::default(), served };
    let error = Demand::begin(&memory(), Before::Untouched, Box::new(post)).unwrap_err();
    assert!(error.to_string().contains("nobody answers"), "{error}");
}

#[test]
fn who_copies_a_memory_does_not_wait_for_ever_for_what_does_not_come() {
    if !is_allowed() {
        return;
    }
    let broken_off = Arc::new(std::sync::atomic::AtomicBool::new(false));
    // What a wait for these pages comes to, once this was done.
    let comes_to = |what: &dyn Fn(testing::Stalled) -> Option<testing::Stalled>| {
        let stalled = testing::Stalled::begin(&memory());
        let presence = Presence::Coming(stalled.demand.fetcher());
        let (sender, came) = mpsc::channel();
        let is_broken_off = Arc::clone(&broken_off);
        thread::spawn(move || {
            let is_broken_off = || is_broken_off.load(std::sync::atomic::Ordering::SeqCst);
            sender.send(presence.fetch(GuestAddress(0x3800), 0x1000, &is_broken_off))
        });
        while stalled.demand.faults() == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(came.recv_timeout(Duration::from_millis(200)).is_err(), "it does not wait");
        let kept = what(stalled);
        let came = came.recv_timeout(SOON).unwrap();
        kept.into_iter().for_each(|stalled| stalled.demand.release());
        came
    };
    let lost = comes_to(&|stalled| {
        stalled.lose();
        Some(stalled)
    });
    assert_eq!(lost, Err(NotFetched::Lost("it is gone".into())));
    let ended = comes_to(&|stalled| {
        stalled.demand.release();
        None
    });
    assert_eq!(ended, Err(NotFetched::Ended));
    let broken_off = comes_to(&|stalled| {
        broken_off.store(true, std::sync::atomic::Ordering::SeqCst);
        Some(stalled)
    });
    assert_eq!(broken_off, Err(NotFetched::BrokenOff));
}

#[test]
fn who_copies_a_memory_has_it_come() {
    if !is_allowed() {
        return;
    }
    let came = Came::begin(&[Mood::Sparing, Mood::Away]);
    let presence = Presence::Coming(came.demand.fetcher());
    presence.fetch(GuestAddress(0x1800), 0x9000, &|| false).unwrap();
    // Nothing of that is asked for any more, wherever the other side is.
    came.lose();
    assert!(matches!(came.news(), News::Lost(_)));
    presence.fetch(GuestAddress(0x1800), 0x9000, &|| true).unwrap();
    assert_eq!(
        (1..=10).map(|page| came.page(page)).collect::<Vec<_>>(),
        (1..=10).map(byte).collect::<Vec<_>>()
    );
    assert!(matches!(presence.fetch(GuestAddress(0x10_0000), 1, &|| false), Err(NotFetched::Lost(_))));
    came.demand.release();
}

#[test]
fn who_waits_for_all_of_a_memory_does_not_pass_for_its_guest() {
    if !is_allowed() {
        return;
    }
    let came = Came::begin(&[Mood::Generous]);
    let presence = Presence::Coming(came.demand.fetcher());
    presence.await_all(&mut |_| false).unwrap();
    assert_eq!((came.demand.lacking_bytes(), came.demand.faults()), (0, 0));
    assert_eq!(came.served.recv_timeout(SOON).unwrap().touched, [], "the guest has needed nothing");
    assert_eq!(came.page(7), byte(7));

    // Who sends nothing by itself is not asked, either, and whoever waits hears how much is missing.
    let came = Came::begin(&[Mood::Sparing]);
    let presence = Presence::Coming(came.demand.fetcher());
    let mut missing = Vec::new();
    let awaited = presence.await_all(&mut |bytes| {
        missing.push(bytes);
        missing.len() > 2
    });
    assert_eq!(awaited, Err(NotFetched::BrokenOff));
    assert_eq!(missing, [(PAGES + 1) << 12; 3]);
    came.demand.release();
    assert_eq!(came.served.recv_timeout(SOON).unwrap().touched, []);
    assert_eq!(presence.await_all(&mut |_| false), Err(NotFetched::Ended));
}
