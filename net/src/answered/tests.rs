//! Frames of a guest, as they come out of its buffers, and the frames that come back.
#![expect(unsafe_code, reason = "frames are scattered over raw buffers")]

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::MacAddress;
use crate::dhcp::{LEASE_SECONDS, Lease4, Lease6, RouterAdvert};
use crate::wire::{Ends4, Ends6, Mac, icmp6, udp4, udp6};

const BRIDGE: Mac = [2, 0, 0, 0, 0, 0];
pub(super) const GUEST: Mac = [2, 0, 0, 0, 0, 7];
const ALL: Mac = [0xff; 6];

pub(super) fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

pub(super) fn ip6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// Keeps what is sent; nothing arrives.
#[derive(Debug)]
struct Kept(File, Mutex<Vec<Vec<u8>>>);

#[derive(Debug)]
struct KeptLink(Arc<Kept>);

struct KeptQueue(Arc<Kept>);

impl Link for KeptLink {
    fn queue_pairs(&self) -> u16 {
        2
    }

    fn mtu(&self) -> Option<u16> {
        Some(1500)
    }

    fn offloads(&self) -> Offloads {
        Offloads::CSUM
    }

    fn set_offloads(&self, _: Offloads) -> io::Result<()> {
        Ok(())
    }

    fn set_active_pairs(&self, _: u16) -> io::Result<()> {
        Ok(())
    }

    fn open_queue(&self, _: u16) -> io::Result<Box<dyn FrameQueue>> {
        Ok(Box::new(KeptQueue(Arc::clone(&self.0))))
    }
}

impl FrameQueue for KeptQueue {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }

    fn receive(&mut self, _: &[IoBuf]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn send(&mut self, bufs: &[IoBuf]) -> io::Result<()> {
        let mut frame = vec![0; bufs.iter().map(IoBuf::len).sum()];
        gather(bufs, 0, &mut frame);
        self.0.1.lock().unwrap().push(frame);
        Ok(())
    }
}

pub(super) fn send(queue: &mut dyn FrameQueue, frame: &[u8], pieces: &[usize]) {
    let mut memory = frame.to_vec();
    let mut bufs = Vec::new();
    let mut rest = memory.as_mut_slice();
    for piece in pieces {
        let (first, others) = rest.split_at_mut((*piece).min(rest.len()));
        // SAFETY: the memory outlives the buffers, and nothing else looks at it.
        bufs.push(unsafe { IoBuf::from_raw(first.as_mut_ptr(), first.len()) });
        rest = others;
    }
    // SAFETY: as above.
    bufs.push(unsafe { IoBuf::from_raw(rest.as_mut_ptr(), rest.len()) });
    queue.send(&bufs).unwrap();
}

pub(super) fn receive(queue: &mut dyn FrameQueue) -> Option<Vec<u8>> {
    let mut memory = vec![0; 2048];
    // SAFETY: the memory outlives the buffer, and nothing else looks at it.
    let buf = unsafe { IoBuf::from_raw(memory.as_mut_ptr(), memory.len()) };
    let len = queue.receive(&[buf]).ok()?;
    memory.truncate(len);
    Some(memory)
}

/// A guest's card.
pub(super) struct Card {
    sent: Arc<Kept>,
    pub(super) handle: AnswersHandle,
    pub(super) queues: Vec<Box<dyn FrameQueue>>,
}

impl Card {
    pub(super) fn new(answers: Answers) -> Self {
        let sent = Arc::new(Kept(File::open("/dev/null").unwrap(), Mutex::default()));
        let link = Answered::new(Arc::new(KeptLink(Arc::clone(&sent))), answers).unwrap();
        let queues = (0..2).map(|pair| link.open_queue(pair).unwrap()).collect();
        Self { sent, handle: link.handle(), queues }
    }

    /// Sends a frame in pieces of these lengths, and the rest in a last one.
    pub(super) fn send(&mut self, pair: usize, frame: &[u8], pieces: &[usize]) {
        send(self.queues[pair].as_mut(), frame, pieces);
    }

    pub(super) fn receive(&mut self, pair: usize) -> Option<Vec<u8>> {
        receive(self.queues[pair].as_mut())
    }

    /// What of the frames sent went on to the network.
    fn passed(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.sent.1.lock().unwrap())
    }

    fn rings(&self) -> bool {
        let bell = self.queues[0].bell().unwrap();
        let mut poll =
            libc::pollfd { fd: std::os::fd::AsRawFd::as_raw_fd(&bell), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, which outlives the call.
        unsafe { libc::poll(&raw mut poll, 1, 100) == 1 }
    }
}

pub(super) fn answers() -> Answers {
    let lease4 = Lease4 {
        client: None,
        address: ip("10.0.2.2"),
        prefix: 24,
        server: ip("10.0.2.1"),
        router: Some(ip("10.0.2.1")),
        routes: Vec::new(),
        dns: vec![ip("10.96.0.10")],
        search: Vec::new(),
        hostname: None,
        mtu: None,
        extras: crate::dhcp::Extras4::default(),
        seconds: LEASE_SECONDS,
    };
    let lease6 = Lease6 {
        client: None,
        address: ip6("fd10:0:2::2"),
        dns: Vec::new(),
        search: Vec::new(),
        seconds: LEASE_SECONDS,
    };
    let advert = RouterAdvert {
        router: RouterAdvert::link_local(MacAddress(BRIDGE)),
        prefix: ip6("fd10:0:2::"),
        prefix_len: 120,
        mtu: Some(1480),
        dns: vec![ip6("fd00::a")],
    };
    let neighbours = vec![IpAddr::V4(ip("169.254.75.10")), IpAddr::V6(advert.router)];
    Answers {
        server_mac: MacAddress(BRIDGE),
        lease4: Some(lease4),
        lease6: Some(lease6),
        advert: Some(advert),
        neighbours,
    }
}

fn none() -> Answers {
    Answers {
        server_mac: MacAddress(BRIDGE),
        lease4: None,
        lease6: None,
        advert: None,
        neighbours: Vec::new(),
    }
}

fn discover() -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0, 1, 2, 3, 4];
    message.resize(28, 0);
    message.extend(GUEST);
    message.resize(236, 0);
    message.extend([99, 130, 83, 99, 53, 1, 1, 255]);
    let ends = Ends4 { from_mac: GUEST, to_mac: ALL, from: Ipv4Addr::UNSPECIFIED, to: Ipv4Addr::BROADCAST };
    udp4(ends, [68, 67], &message)
}

fn ends6(to: &str) -> Ends6 {
    let from = RouterAdvert::link_local(MacAddress(GUEST));
    Ends6 { from_mac: GUEST, to_mac: [0x33, 0x33, 0, 1, 0, 2], from, to: ip6(to) }
}

fn solicit() -> Vec<u8> {
    let message = [1, 1, 2, 3, 0, 1, 0, 4, 0, 3, 0, 1, 0, 3, 0, 12, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    udp6(ends6("ff02::1:2"), [546, 547], &message)
}

fn router_solicitation() -> Vec<u8> {
    icmp6(ends6("ff02::2"), 133, &[0; 4])
}

fn neighbour_solicitation(target: Ipv6Addr) -> Vec<u8> {
    icmp6(ends6("ff02::1:ff00:0"), 135, &[&[0; 4][..], &target.octets()].concat())
}

fn arp(target: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend(
        [&ALL, &GUEST, &[8, 6, 0, 1, 8, 0][..], &[6, 4, 0, 1], &GUEST, &[10, 0, 2, 2], &[0; 6]].concat(),
    );
    frame.extend(target.octets());
    frame
}

#[test]
fn questions_are_answered_however_they_lie_in_memory() {
    let router = RouterAdvert::link_local(MacAddress(BRIDGE));
    let questions = [discover(), solicit(), router_solicitation(), neighbour_solicitation(router)];
    for question in questions.into_iter().chain([arp(ip("169.254.75.10"))]) {
        for pieces in [&[][..], &[12], &[1, 11, 14], &[12, 14, 20, 8], &[53, 2], &[0, 12, 0]] {
            for pair in [0, 1] {
                let mut card = Card::new(answers());
                card.send(pair, &question, pieces);
                assert!(card.rings() && card.passed().is_empty(), "{pieces:?}");
                // Whatever asked, the first pair hears the answer, from the bridge and with nothing left to do.
                assert_eq!(card.receive(1), None);
                let answer = card.receive(0).unwrap();
                assert_eq!((&answer[..12], &answer[18..24]), (&[0; 12][..], &BRIDGE[..]));
                assert_eq!(card.receive(0), None);
            }
        }
    }
}

#[test]
fn nothing_is_touched_where_nothing_is_to_be_answered() {
    let router = RouterAdvert::link_local(MacAddress(BRIDGE));
    let questions = [
        discover(),
        solicit(),
        router_solicitation(),
        neighbour_solicitation(router),
        arp(ip("169.254.75.10")),
    ];
    let mut card = Card::new(none());
    questions.iter().for_each(|question| card.send(0, question, &[12]));
    assert_eq!(card.passed(), questions);
    assert!(!card.rings() && card.receive(0).is_none());
    // Nor the traffic of a guest that is a server itself, or that asks somebody else.
    let mut card = Card::new(answers());
    let ends = Ends4 { from_mac: GUEST, to_mac: ALL, from: ip("10.0.2.2"), to: Ipv4Addr::BROADCAST };
    let others = [
        udp4(ends, [67, 68], &[0; 300]),
        udp4(ends, [53, 53], b"name?"),
        udp6(ends6("ff02::1:2"), [547, 546], &[7; 40]),
        neighbour_solicitation(ip6("fe80::1")),
        icmp6(ends6("ff02::1"), 128, &[0; 60]),
        arp(ip("10.0.2.1")),
        vec![0; 13],
        Vec::new(),
    ];
    others.iter().for_each(|frame| card.send(0, frame, &[12]));
    assert_eq!(card.passed(), others);
    assert_eq!(card.handle.report(), AnswersReport::default());
}

#[test]
fn a_checksum_may_be_open_but_not_wrong() {
    for question in [discover(), solicit(), router_solicitation()] {
        let mut card = Card::new(answers());
        let last = question.len() - 1;
        let mut wrong = question.clone();
        // The very end is padding to DHCP, but not to the checksum.
        wrong[last] ^= 1;
        card.send(0, &wrong, &[]);
        assert_eq!((card.receive(0), card.handle.report().malformed), (None, 1));
        assert!(card.passed().is_empty());
        let mut open = wrong;
        open[last] ^= 1;
        let checksum_at = 12
            + 14
            + if open[24] == 8 {
                26
            } else if open[32] == 58 {
                42
            } else {
                46
            };
        open[checksum_at] ^= 0x55;
        open[0] = 1;
        card.send(0, &open, &[]);
        assert!(card.receive(0).is_some());
    }
}

#[test]
fn a_lease_is_noted_when_it_is_taken() {
    let mut card = Card::new(answers());
    let told = Arc::new(Mutex::new(Vec::new()));
    let teller = Arc::clone(&told);
    card.handle.on_lease(move |address| teller.lock().unwrap().push(address));
    card.send(0, &discover(), &[]);
    let offered = card.handle.report();
    assert_eq!((offered.dhcp4, offered.leased4), (1, None));
    let mut request = discover()[12 + 42..].to_vec();
    request.truncate(240);
    request.extend([53, 1, 3, 50, 4, 10, 0, 2, 2, 255]);
    let ends = Ends4 { from_mac: GUEST, to_mac: ALL, from: Ipv4Addr::UNSPECIFIED, to: Ipv4Addr::BROADCAST };
    // The second is a renewal.
    for _ in 0..2 {
        card.send(0, &udp4(ends, [68, 67], &request), &[]);
        let lease = card.handle.report().leased4.unwrap();
        assert!(lease.address == ip("10.0.2.2") && lease.since.elapsed().unwrap().as_secs() < 60);
    }
    assert_eq!(*told.lock().unwrap(), [IpAddr::V4(ip("10.0.2.2"))]);
}

#[test]
fn the_router_advertises_itself_now_and_then() {
    let mut card = Card::new(answers());
    card.queues[0].rang();
    let advert = card.receive(0).unwrap();
    card.queues[0].rang();
    assert_eq!((card.receive(0), card.handle.report().adverts), (None, 1));
    let body = &advert[12 + 14 + 40..];
    assert_eq!((body[0], body[5], u16::from_be_bytes([body[6], body[7]])), (134, 0xc0, 9000));
    let prefix = body.windows(4).position(|window| window == [3, 4, 120, 0x80]).unwrap();
    assert_eq!(body[prefix + 16..prefix + 32], ip6("fd10:0:2::").octets());
    assert!(body.windows(8).any(|window| window == [5, 1, 0, 0, 0, 0, 5, 200]));
    assert!(body.ends_with(&ip6("fd00::a").octets()) && body.len().is_multiple_of(8));
}

#[test]
fn too_long_and_segmented_questions_are_dropped() {
    let mut card = Card::new(answers());
    let mut long = discover();
    long.resize(LONGEST + 1, 0);
    card.send(0, &long, &[]);
    let mut segmented = discover();
    segmented[1] = 1;
    card.send(0, &segmented, &[]);
    assert_eq!((card.handle.report().malformed, card.receive(0)), (2, None));
    assert!(card.passed().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// A frame either goes on as it was, or ends here; what comes back is short, and one at most.
    #[test]
    fn any_frame_is_survived(
        which in 0_usize..5,
        changes in prop::collection::vec((0_usize..400, any::<u8>()), 0..6),
        cut in 0_usize..400,
        open in any::<bool>(),
        pieces in prop::collection::vec(0_usize..60, 0..6),
    ) {
        let router = RouterAdvert::link_local(MacAddress(BRIDGE));
        let questions =
            [discover(), solicit(), router_solicitation(), neighbour_solicitation(router), arp(ip("169.254.75.10"))];
        let mut frame = questions[which].clone();
        for (at, value) in changes {
            let at = at % frame.len();
            frame[at] = value;
        }
        // Otherwise nearly everything would end at the checksum.
        frame[0] = u8::from(open);
        frame.truncate(frame.len().min(cut.max(1) * 2));
        let mut card = Card::new(answers());
        card.send(0, &frame, &pieces);
        let passed = card.passed();
        let answered = std::iter::from_fn(|| card.receive(0)).collect::<Vec<_>>();
        let report = card.handle.report();
        prop_assert!(passed.len() + answered.len() <= 1);
        prop_assert!(passed.iter().all(|passed| *passed == frame));
        prop_assert!(answered.iter().all(|answer| (72..=12 + 1514).contains(&answer.len())));
        prop_assert!(report.malformed <= 1);
    }

    #[test]
    fn any_message_is_survived(message in prop::collection::vec(any::<u8>(), 0..600)) {
        let answers = answers();
        let _ = crate::dhcp::v4::answer(&answers.lease4.unwrap(), &message, Ipv4Addr::BROADCAST);
        let _ = crate::dhcp::v6::answer(&answers.lease6.unwrap(), BRIDGE, GUEST, &message);
    }
}
