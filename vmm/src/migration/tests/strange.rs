//! Sources that do what none of ours does.

use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use super::super::destination::Come;
use super::super::wire::{
    Batch, FORMAT, Hello, Message, OLDEST_FORMAT, Piece, Reader, Session, Welcome, WireError, Writer,
};
use super::*;
use crate::sys::userfault::is_allowed;

type Spoken = (Reader<UnixStream>, Writer<UnixStream>);

/// How long something takes at most that does not hang.
const SOON: Duration = Duration::from_secs(60);

/// A source, and the destination that it has greeted.
struct Scene {
    folder: tempfile::TempDir,
    _reception: Reception,
    incoming: Option<Incoming>,
    first: Spoken,
    welcome: Welcome,
    ram: GuestRam,
}

impl Scene {
    fn set(connections: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let reception = reception(&folder.path().join("socket"));
        let mut first = call(folder.path());
        let hello = Hello {
            format: FORMAT,
            oldest: OLDEST_FORMAT,
            session: session(),
            connections,
            facts: Facts::new(),
        };
        first.1.write(&Message::Hello(hello)).unwrap();
        let Ok(Message::Welcome(welcome)) = first.0.read() else { panic!("it is refused") };
        let incoming = reception.greet(SOON);
        Self { folder, _reception: reception, incoming, first, welcome, ram: memory(4) }
    }

    fn call(&self, message: &Message) -> Spoken {
        let mut spoken = call(self.folder.path());
        spoken.1.write(message).unwrap();
        spoken
    }

    /// Has the destination receive; what comes of it.
    fn receive(&mut self) -> Receiver<(Result<Come, NotCome>, Incoming)> {
        let (sender, come) = mpsc::channel();
        let (mut incoming, ram) = (self.incoming.take().unwrap(), self.ram.clone());
        thread::spawn(move || {
            let come = incoming.receive(&ram);
            sender.send((come, incoming)).unwrap();
        });
        come
    }

    /// Says that memory follows, and that it is the page with number 1. Gives back the connection by which that is to come.
    fn leave_behind(&mut self) -> Spoken {
        self.first.1.write(&Message::Behind).unwrap();
        let (mut reader, mut writer) = self.call(&Message::Serve(session()));
        for piece in [
            Piece { start: 0, words: vec![0b10], last: false },
            Piece { start: 0, words: Vec::new(), last: true },
        ] {
            writer.write(&Message::Holds(piece)).unwrap();
        }
        while !matches!(reader.read().unwrap(), Message::Lacks(Piece { last: true, .. })) {}
        (reader, writer)
    }
}

fn session() -> Session {
    Session::new([1; 16])
}

fn call(folder: &Path) -> Spoken {
    let stream = socket::connect(&folder.join("socket")).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    (Reader::new(stream.try_clone().unwrap()), Writer::new(stream))
}

/// The page with number 1.
fn page() -> Batch {
    let mut batch = Batch::default();
    batch
        .add(PAGE as u64, 1, |to: &mut [u8]| {
            to.fill(7);
            Ok::<_, std::io::Error>(())
        })
        .unwrap();
    batch
}

#[test]
fn nothing_waits_for_a_page_that_comes_where_it_is_missing() {
    if !is_allowed() {
        return;
    }
    // On the first connection: who would wait for it says instead that this makes no sense.
    let mut scene = Scene::set(1);
    let come = scene.receive();
    let (mut reader, _writer) = scene.leave_behind();
    scene.first.1.write_pages(&page()).unwrap();
    // The memory is given up, and not just left.
    while reader.read().unwrap() != Message::Complete {}
    drop((reader, _writer));
    let (come, _) = come.recv_timeout(SOON).unwrap();
    assert!(come.unwrap_err().to_string().contains("no sense"));

    // On another one, which is over by then.
    let mut scene = Scene::set(2);
    let (mut joined, mut lane) = scene.call(&Message::Join(scene.welcome.key.clone()));
    assert_eq!(joined.read().unwrap(), Message::Joined);
    let come = scene.receive();
    let behind = scene.leave_behind();
    let _ = lane.write_pages(&page());
    thread::sleep(Duration::from_millis(100));
    scene.first.1.write(&Message::State(b"state".to_vec())).unwrap();
    // The page does not come, and nobody is waited for who waits for it.
    let (come, _incoming) = come.recv_timeout(SOON).unwrap();
    let demand = come.unwrap().demand.unwrap();
    drop(behind);
    demand.release();
}

#[test]
fn a_destination_that_gives_up_keeps_neither_its_connection_nor_the_memory() {
    if !is_allowed() {
        return;
    }
    let mut scene = Scene::set(1);
    let come = scene.receive();
    let behind = scene.leave_behind();
    scene.first.1.write(&Message::State(b"state".to_vec())).unwrap();
    let (come, mut incoming) = come.recv_timeout(SOON).unwrap();
    let demand = come.unwrap().demand.unwrap();
    // The source says nothing for too long.
    incoming.stream().set_patience(Duration::from_millis(50)).unwrap();
    incoming.take_over(|| Ok(()), || ()).unwrap_err();
    assert_eq!(scene.first.0.read().unwrap(), Message::Ready);
    assert!(matches!(scene.first.0.read(), Err(WireError::Lost(_))), "it is kept waiting");
    // The source goes before the memory is given up.
    drop(behind);
    demand.release();
    let memory = Arc::downgrade(&scene.ram);
    drop(scene);
    let begun = Instant::now();
    while memory.upgrade().is_some() {
        assert!(begun.elapsed() < SOON, "somebody keeps the memory");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_first_connection_ends_once_the_machine_runs_though_its_memory_still_comes() {
    if !is_allowed() {
        return;
    }
    let mut scene = Scene::set(1);
    let come = scene.receive();
    let behind = scene.leave_behind();
    scene.first.1.write(&Message::State(b"state".to_vec())).unwrap();
    scene.first.1.write(&Message::Go).unwrap();
    scene.first.1.write(&Message::Settled).unwrap();
    let (come, mut incoming) = come.recv_timeout(SOON).unwrap();
    let demand = come.unwrap().demand.unwrap();
    incoming.take_over(|| Ok(()), || ()).unwrap();
    incoming.say_running(|| ());
    for said in [Message::Ready, Message::Running] {
        assert_eq!(scene.first.0.read().unwrap(), said);
    }
    let begun = Instant::now();
    assert!(matches!(scene.first.0.read(), Err(WireError::Lost(_))), "it goes on");
    assert!(begun.elapsed() < SOON, "somebody keeps it until all memory has come");
    drop(behind);
    demand.release();
}

#[test]
fn a_destination_that_is_to_end_does_not_wait_for_memory_that_is_to_follow() {
    if !is_allowed() {
        return;
    }
    let mut scene = Scene::set(1);
    let cutter = scene.incoming.as_ref().unwrap().cutter();
    let come = scene.receive();
    scene.first.1.write(&Message::Behind).unwrap();
    // It calls, and does not say what it has.
    let _behind = scene.call(&Message::Serve(session()));
    thread::sleep(Duration::from_millis(200));
    assert!(come.try_recv().is_err(), "it does not wait");
    cutter.cut();
    let (come, _) = come.recv_timeout(crate::demand::PATIENCE / 2).unwrap();
    come.unwrap_err();
}
