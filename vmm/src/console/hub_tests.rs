//! Guests that say something, and those who listen and type.

use std::thread;

use devices::irq::IrqLine;
use devices::platform::serial::SerialSink;

use super::*;

/// An interrupt line that leads nowhere.
#[derive(Debug)]
struct Nowhere;

impl IrqLine for Nowhere {
    fn set_level(&self, _: bool) {}
}

/// A port of a guest that writes into `ring`.
pub(in crate::console) fn plugged(hub: &ConsoleHub, ring: &Arc<ConsoleRing>) -> Plugged {
    let serial = Serial::new(Arc::new(Nowhere), Arc::clone(ring) as _, Arc::default()).unwrap();
    hub.plug(Arc::new(serial), Arc::clone(ring))
}

/// Has the guest say something, and the hub hear it.
pub(in crate::console) fn say(hub: &ConsoleHub, ring: &ConsoleRing, text: &[u8]) {
    text.iter().for_each(|byte| ring.write(*byte));
    hub.hear();
}

fn hub() -> (ConsoleHub, Arc<ConsoleRing>, Plugged) {
    let hub = ConsoleHub::new().unwrap();
    let ring = Arc::new(ConsoleRing::new(1 << 20).unwrap());
    let port = plugged(&hub, &ring);
    (hub, ring, port)
}

fn all(listener: &mut Listener) -> (Vec<u8>, u64) {
    let mut bytes = Vec::new();
    let heard = listener.read(usize::MAX, &mut bytes);
    (bytes, heard.missed)
}

#[test]
fn everyone_hears_all_and_newcomers_what_is_kept() {
    let (hub, ring, _port) = hub();
    let mut first = hub.listen(Keyboard::No, 0, None);
    say(&hub, &ring, b"one ");
    let mut second = hub.listen(Keyboard::No, 2, None);
    let mut third = hub.listen(Keyboard::No, 99, None);
    say(&hub, &ring, b"two");
    assert_eq!(all(&mut first), (b"one two".to_vec(), 0));
    assert_eq!(all(&mut second), (b"e two".to_vec(), 0));
    let mut bytes = Vec::new();
    for _ in 0..4 {
        third.read(2, &mut bytes);
    }
    assert_eq!(bytes, b"one two");
    assert_eq!(all(&mut third), (Vec::new(), 0));
    assert_eq!(hub.listeners(), 3);
    drop((first, second, third));
    assert_eq!(hub.listeners(), 0);
}

#[test]
fn who_never_reads_misses_the_oldest_and_costs_nothing() {
    let (hub, ring, _port) = hub();
    let mut deaf = hub.listen(Keyboard::No, 0, None);
    let total = 1000 * 1000;
    for part in 0..1000u32 {
        say(&hub, &ring, &[part.to_le_bytes()[0]; 1000]);
    }
    let (bytes, missed) = all(&mut deaf);
    assert_eq!((bytes.len(), missed), (KEPT, total - KEPT as u64));
    assert_eq!(bytes.last(), Some(&999u32.to_le_bytes()[0]));
    assert!(hub.state().kept.capacity() <= 2 * KEPT);
    say(&hub, &ring, &[b'y'; 2 * KEPT]);
    assert_eq!(all(&mut deaf), (vec![b'y'; KEPT], KEPT as u64));
}

#[test]
fn one_types_until_it_leaves_or_somebody_takes_over() {
    let (hub, _ring, _port) = hub();
    let wake = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
    let first = hub.listen(Keyboard::IfFree, 0, Some(Arc::clone(&wake)));
    let second = hub.listen(Keyboard::IfFree, 0, None);
    assert_eq!(first.type_keys(b"a"), Typed::Taken(1));
    assert_eq!(second.type_keys(b"b"), Typed::NotTheTypist);
    let third = hub.listen(Keyboard::Take, 0, None);
    assert!(wake.read().is_ok(), "who is not the typist any more hears of it");
    assert_eq!(first.type_keys(b"c"), Typed::NotTheTypist);
    assert_eq!(third.type_keys(b"d"), Typed::Taken(1));
    drop(first);
    assert!(third.is_typist());
    drop(third);
    assert!(!second.is_typist(), "it did not ask again");
    second.reach_for(Keyboard::IfFree);
    assert!(second.is_typist());
    assert_eq!(hub.state().keys, [b'a', b'd']);
}

#[test]
fn keys_wait_for_room_and_for_a_guest_but_not_for_the_next_one() {
    let (hub, ring, port) = hub();
    let wake = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
    let typist = hub.listen(Keyboard::IfFree, 0, Some(Arc::clone(&wake)));
    assert_eq!(typist.type_keys(&[b'k'; 2 * KEYS]), Typed::Taken(KEYS));
    assert_eq!(typist.type_keys(b"k"), Typed::Taken(0));
    hub.give_keys();
    assert!(wake.read().is_ok(), "there is room again");
    assert!(matches!(typist.type_keys(&[b'k'; KEYS]), Typed::Taken(1..KEYS)));
    let left = hub.state().keys.len();
    hub.give_keys();
    assert_eq!(hub.state().keys.len(), left, "the port is full until its guest reads");
    drop(port);
    assert!(hub.state().keys.is_empty());
    assert_eq!(typist.type_keys(b"next"), Typed::Taken(4));
    hub.give_keys();
    let _port = plugged(&hub, &ring);
    hub.give_keys();
    assert!(hub.state().keys.is_empty());
}

#[test]
fn the_last_words_of_a_guest_are_heard() {
    let (hub, ring, port) = hub();
    let mut listener = hub.listen(Keyboard::No, 0, None);
    ring.write(b'!');
    drop(port);
    assert_eq!(all(&mut listener), (b"!".to_vec(), 0));
    say(&hub, &ring, b"unheard");
    assert_eq!(all(&mut listener), (Vec::new(), 0));
}

#[test]
fn nothing_is_lost_or_turned_around_between_threads() {
    let (hub, ring, port) = hub();
    let mut listener = hub.listen(Keyboard::No, 0, None);
    let writer = Arc::clone(&ring);
    let saying = thread::spawn(move || (0..200_000u32).for_each(|i| writer.write(i.to_le_bytes()[0])));
    let hearing = {
        let hub = hub.clone();
        thread::spawn(move || (0..500).for_each(|_| hub.hear()))
    };
    let mut bytes = Vec::new();
    while !saying.is_finished() {
        hub.hear();
        assert_eq!(listener.read(1000, &mut bytes).missed, 0);
    }
    saying.join().unwrap();
    hearing.join().unwrap();
    drop(port);
    assert_eq!(listener.read(usize::MAX, &mut bytes).missed, 0);
    assert!(
        bytes.len() == 200_000
            && bytes.iter().zip(0..200_000u32).all(|(&byte, i)| byte == i.to_le_bytes()[0])
    );
}
