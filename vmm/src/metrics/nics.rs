//! What network cards did, and what was answered in front of them.

use devices::virtio::Counter;
use devices::virtio::net::{NetHandle, QueueCounters};
use net::{AnswersReport, Lease};

use super::text::{Kind, Text, number, value};

/// A counter of a queue: its part of a metric's name, what it counts, and where it is.
type OfQueue = (&'static str, &'static str, fn(&QueueCounters) -> &Counter);

/// The counters of a queue, in the order in which they are kept.
const OF_QUEUE: [OfQueue; 7] = [
    ("packets", "Frames of a queue that arrived at the other side.", |queue| &queue.frames),
    ("bytes", "Bytes of a queue's frames.", |queue| &queue.bytes),
    ("dropped", "Frames of a queue that were lost.", |queue| &queue.dropped),
    ("malformed", "Chains of a queue that neither hold nor are a frame.", |queue| &queue.malformed),
    ("filtered", "Frames of a queue that the guest's driver did not ask for.", |queue| &queue.filtered),
    ("wakeups", "Times that a queue was woken.", |queue| &queue.wakeups),
    ("interrupts", "Interrupts of a queue.", |queue| &queue.interrupts),
];

/// Directions, as metrics call them.
const WAYS: [&str; 2] = ["receive", "transmit"];

/// KubeVirt's names, which are sums over queues: direction and counter by their places above, name and what it says.
const SUMS: [(usize, usize, &str, &str); 8] = [
    (0, 0, "kubevirt_vmi_network_receive_packets_total", "Total network traffic received packets."),
    (0, 1, "kubevirt_vmi_network_receive_bytes_total", "Total network traffic received in bytes."),
    (
        0,
        2,
        "kubevirt_vmi_network_receive_packets_dropped_total",
        "The total number of rx packets dropped on vNIC interfaces.",
    ),
    (0, 3, "kubevirt_vmi_network_receive_errors_total", "Total network received error packets."),
    (1, 0, "kubevirt_vmi_network_transmit_packets_total", "Total network traffic transmitted packets."),
    (1, 1, "kubevirt_vmi_network_transmit_bytes_total", "Total network traffic transmitted in bytes."),
    (
        1,
        2,
        "kubevirt_vmi_network_transmit_packets_dropped_total",
        "The total number of tx packets dropped on vNIC interfaces.",
    ),
    (1, 3, "kubevirt_vmi_network_transmit_errors_total", "Total network transmitted error packets."),
];

/// The counters of a card's queues, one queue after the other: those that receive, then as many that transmit.
pub(super) fn counts(nic: &NetHandle) -> Vec<u64> {
    let counters = nic.counters();
    let queues = counters.rx.iter().chain(&counters.tx);
    queues.flat_map(|queue| OF_QUEUE.iter().map(|(_, _, counter)| counter(queue).get())).collect()
}

/// The counts of one direction, for each queue.
fn way(counts: &[u64], way: usize) -> impl Iterator<Item = &[u64]> {
    let queues = counts.len() / OF_QUEUE.len() / WAYS.len();
    counts.chunks_exact(OF_QUEUE.len()).skip(way * queues).take(queues)
}

/// Writes what cards did, by name.
pub(super) fn write(nics: &[(String, Vec<u64>)], text: &mut Text) {
    for (direction, index, name, help) in SUMS {
        let samples = nics.iter().map(|(nic, counts)| {
            let each = way(counts, direction).filter_map(|queue| queue.get(index));
            value(number(each.fold(0, |sum, count| u64::wrapping_add(sum, *count))))
                .with("interface", nic.as_str())
        });
        text.metric(name, Kind::Counter, help, samples);
    }
    for (index, (name, help, _)) in OF_QUEUE.iter().enumerate() {
        let samples = nics.iter().flat_map(|(nic, counts)| {
            WAYS.iter().enumerate().flat_map(move |(direction, what)| {
                way(counts, direction).enumerate().filter_map(move |(queue, counts)| {
                    let sample = value(number(*counts.get(index)?)).with("interface", nic.as_str());
                    Some(sample.with("direction", *what).with("queue", queue.to_string()))
                })
            })
        });
        text.metric(&format!("kubevmm_network_queue_{name}_total"), Kind::Counter, help, samples);
    }
}

/// A count of answers: its name, what it says, and where it is.
type OfAnswers = (&'static str, &'static str, fn(&AnswersReport) -> u64);

/// What is counted in front of a card. Answers by DHCP are told apart by the version of IP.
const OF_ANSWERS: [OfAnswers; 5] = [
    ("kubevmm_dhcp_router_advertisements_total", "Router advertisements sent to the guest.", |report| {
        report.adverts
    }),
    ("kubevmm_dhcp_neighbours_total", "Questions for neighbours that were answered.", |report| {
        report.neighbours
    }),
    (
        "kubevmm_dhcp_malformed_total",
        "Questions of the guest that were dropped because they contradict their own format.",
        |report| report.malformed,
    ),
    ("kubevmm_dhcp_lost_total", "Answers that the guest did not fetch in time.", |report| report.lost),
    ("kubevmm_dhcp_options_left_out_total", "DHCP options that found no room in an answer.", |report| {
        report.options_left_out
    }),
];

/// Writes what was answered in front of cards, by their names.
pub(super) fn write_answers(cards: &[(String, AnswersReport)], text: &mut Text) {
    let answers = cards.iter().flat_map(|(card, report)| {
        [("4", report.dhcp4), ("6", report.dhcp6)].map(|(version, count)| {
            value(number(count)).with("interface", card.as_str()).with("version", version)
        })
    });
    let help = "Answers by DHCP and DHCPv6.";
    text.metric("kubevmm_dhcp_answers_total", Kind::Counter, help, answers);
    for (name, help, count) in OF_ANSWERS {
        let sample = |(card, report): &(String, AnswersReport)| {
            value(number(count(report))).with("interface", card.as_str())
        };
        text.metric(name, Kind::Counter, help, cards.iter().map(sample));
    }
    let leases = cards.iter().flat_map(|(card, report)| {
        let lease = |lease: Lease| {
            let since = lease.since.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            value(since.as_secs_f64())
                .with("interface", card.as_str())
                .with("address", lease.address.to_string())
        };
        [report.leased4, report.leased6].into_iter().flatten().map(lease)
    });
    text.metric(
        "kubevmm_dhcp_lease_timestamp_seconds",
        Kind::Gauge,
        "When the guest last took or renewed the lease of this address, in seconds since 1970.",
        leases,
    );
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn queues_are_told_apart_and_summed_for_kubevirts_names() {
        // Two queue pairs: 0 to 6, 7 to 13 receive; 14 to 20, 21 to 27 transmit.
        let counts = (0..28).collect();
        let mut text = Text::new(&[]);
        write(&[("default".into(), counts)], &mut text);
        let text = text.finish();
        for line in [
            "kubevirt_vmi_network_receive_bytes_total{interface=\"default\"} 9\n",
            "kubevirt_vmi_network_transmit_packets_total{interface=\"default\"} 35\n",
            "kubevmm_network_queue_filtered_total{interface=\"default\",direction=\"receive\",queue=\"1\"} 11\n",
            "kubevmm_network_queue_interrupts_total{interface=\"default\",direction=\"transmit\",queue=\"0\"} 20\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 8 + 28);
    }

    #[test]
    fn leases_have_their_address_and_time() {
        let leased4 = Lease {
            address: Ipv4Addr::new(10, 0, 2, 2).into(),
            since: UNIX_EPOCH + Duration::from_millis(1500),
        };
        let report =
            AnswersReport { dhcp4: 2, malformed: 3, leased4: Some(leased4), ..AnswersReport::default() };
        let mut text = Text::new(&[]);
        write_answers(&[("default".into(), report)], &mut text);
        let text = text.finish();
        for line in [
            "kubevmm_dhcp_answers_total{interface=\"default\",version=\"4\"} 2\n",
            "kubevmm_dhcp_answers_total{interface=\"default\",version=\"6\"} 0\n",
            "kubevmm_dhcp_malformed_total{interface=\"default\"} 3\n",
            "kubevmm_dhcp_lease_timestamp_seconds{interface=\"default\",address=\"10.0.2.2\"} 1.5\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        let mut none = Text::new(&[]);
        write_answers(&[], &mut none);
        assert_eq!(none.finish(), "");
    }
}
