//! systemd-networkd, which does DHCP of both versions and believes routers: what it makes of the interface.

use super::*;

/// Puts what networkd writes and reads into file systems of its own, where it finds one interface to care for.
const START: &str = "umask 022 && mount -t tmpfs none /run && mount -t tmpfs none /etc/systemd && mkdir -p /etc/systemd/network /run/systemd/netif && \
    printf '[Match]\\nName=t0\\n[Network]\\nDHCP=yes\\nIPv6AcceptRA=yes\\n[DHCPv4]\\nUseMTU=yes\\n' >/etc/systemd/network/t0.network && \
    { mount -o remount,ro /sys || mount --bind -o ro /sys /sys; } && exec env container=docker /lib/systemd/systemd-networkd";

#[test]
fn networkd_configures_all_there_is() {
    if !Path::new("/lib/systemd/systemd-networkd").exists() {
        eprintln!("systemd-networkd is not installed: its opinion is not heard");
        return;
    }
    in_namespace(|| {
        tap();
        with_card(full(), Offloads::CSUM, |handle| {
            let mut command = Command::new("unshare");
            command.args(["-m", "sh", "-c", START]).stdin(Stdio::null()).stderr(Stdio::null());
            let _networkd = Running(starting(|| command.spawn()).unwrap());
            for (arguments, expected) in [
                ("addr show dev t0", "inet 10.0.2.2/24"),
                ("addr show dev t0", "inet6 fd10:0:2::2/128"),
                ("link show dev t0", "mtu 1480"),
                ("route show", "default via 10.0.2.1 dev t0"),
                ("route show", "172.16.0.0/12 via 10.0.2.9 dev t0"),
                ("-6 route show default", "fe80::ff:fe00:0 dev t0"),
                ("-6 route show", "fd10:0:2::/120 dev t0"),
            ] {
                let begin = Instant::now();
                while !run("ip", arguments).contains(expected) {
                    assert!(begin.elapsed() < PATIENCE, "no {expected} in {}", run("ip", arguments));
                    thread::sleep(Duration::from_millis(100));
                }
            }
            let report = handle.report();
            assert!(
                report.malformed == 0 && report.leased4.is_some() && report.leased6.is_some(),
                "{report:?}"
            );
        });
    });
}
