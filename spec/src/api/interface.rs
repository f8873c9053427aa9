//! `spec.domain.devices.interfaces` and `spec.networks`.

use super::Presence;

object! {
    /// A network card. Its network is the one of the same name.
    pub struct Interface {
        /// The card's name, which is also its network's.
        name: String [required], HONOURED;
        /// The model of the card.
        model: Option<String> = "virtio",
            warn_when(When::NoneOf(&["virtio", "virtio-non-transitional"]), "the card is virtio-net: the guest needs a virtio driver");
        /// Ports that are forwarded to the guest; all when none is named.
        ports: Vec<Port>, HONOURED;
        /// Ranges of ports that are forwarded to the guest.
        port_ranges: Vec<PortRange>, HONOURED;
        /// The card's MAC address.
        mac_address: Option<String> = "made from the VM's name", HONOURED;
        /// The order in which disks and network cards are tried at boot, from 1.
        boot_order: Option<u64>, warn("booting from the network is not possible");
        /// The PCI address that the guest sees.
        pci_address: String, warn("kubevmm chooses the PCI address");
        /// What the DHCP server tells the guest.
        dhcp_options: Option<DhcpOptions>, HONOURED;
        /// A word that cloud-init's config drive gives for the card.
        tag: String, HONOURED;
        /// The card's ACPI index, from which the guest names it (`eno<N>`).
        acpi_index: i64, warn("the guest does not learn the ACPI index");
        /// Whether the card is there and its link up.
        state: Option<InterfaceState> = "up", HONOURED;
        ..binding: InterfaceBinding;
    }

    /// A port forwarded to the guest.
    pub struct Port {
        /// A name for the port.
        name: String, HONOURED;
        /// TCP or UDP.
        protocol: String = "TCP", HONOURED;
        /// The number, 1 to 65535.
        port: i32 [required], HONOURED;
    }

    /// A range of ports forwarded to the guest.
    pub struct PortRange {
        /// TCP or UDP.
        protocol: String = "TCP", HONOURED;
        /// The first port.
        start: i32, HONOURED;
        /// The last port.
        end: i32, HONOURED;
    }

    /// What the DHCP server tells the guest.
    pub struct DhcpOptions {
        /// Option 67, the boot file.
        boot_file_name: String, HONOURED;
        /// Option 66, the TFTP server.
        tftp_server_name: String, HONOURED;
        /// Option 42, NTP servers by IPv4 address.
        ntp_servers: Vec<String>, HONOURED;
        /// Options 224 to 254.
        private_options: Vec<DhcpPrivateOption>, HONOURED;
    }

    /// A private DHCP option.
    pub struct DhcpPrivateOption {
        /// The option's number, 224 to 254.
        option: i64 [required], HONOURED;
        /// Its value.
        value: String [required], HONOURED;
    }

    /// A network binding plugin.
    pub struct PluginBinding {
        /// The plugin's name.
        name: String [required], HONOURED;
    }

    /// A network that cards can be attached to.
    pub struct Network {
        /// The name by which a card refers to the network.
        name: String [required], HONOURED;
        ..source: NetworkSource;
    }

    /// The cluster's own network.
    pub struct PodNetwork {
        /// The guest's IPv4 network behind masquerade.
        vm_network_cidr as "vmNetworkCIDR": String = "10.0.2.0/24", HONOURED;
        /// The guest's IPv6 network behind masquerade.
        vm_ipv6_network_cidr as "vmIPv6NetworkCIDR": String = "fd10:0:2::/120", HONOURED;
    }

    /// A further network of the cluster.
    pub struct MultusNetwork {
        /// The NetworkAttachmentDefinition: `name` or `namespace/name`.
        network_name: String [required], HONOURED;
        /// Whether it takes the place of the pod network.
        default: bool = "false", HONOURED;
    }

    /// A request of a resource claim.
    pub struct ClaimRequest {
        /// The claim, one of `spec.resourceClaims`.
        claim_name: Option<String>, HONOURED;
        /// The request within the claim.
        request_name: Option<String>, HONOURED;
    }
}

union! {
    /// How a card is tied to its network.
    pub enum InterfaceBinding {
        /// The guest takes the place of the pod on its network.
        Bridge as "bridge" (Presence), HONOURED;
        /// The guest hides behind the pod's address.
        Masquerade as "masquerade" (Presence), HONOURED;
        /// A virtual function of a network card, passed through.
        Sriov as "sriov" (Presence),
            warn("network cards cannot be passed through: the machine runs with a tap in its place only (--tap)");
        /// User-mode networking by passt.
        PasstBinding as "passtBinding" (Presence), HONOURED;
        /// User-mode networking by passt, in its old form.
        Passt as "passt" (Presence), HONOURED;
        /// A macvtap device of the host, in its old form.
        Macvtap as "macvtap" (Presence), HONOURED;
        /// User-mode networking of old.
        Slirp as "slirp" (Presence), warn("slirp is gone, from KubeVirt too: passt takes its place");
        /// A network binding plugin.
        Plugin as "binding" (PluginBinding), HONOURED;
    }
}

union! {
    /// What a network is.
    pub enum NetworkSource {
        /// The cluster's own network.
        Pod as "pod" (PodNetwork), HONOURED;
        /// A further network of the cluster.
        Multus as "multus" (MultusNetwork), HONOURED;
        /// A network device claimed by dynamic resource allocation.
        ResourceClaim as "resourceClaim" (ClaimRequest),
            warn("nothing is claimed: the card is on the tap given for its network");
    }
}

choice! {
    /// Whether a card is there and its link up.
    pub enum InterfaceState {
        /// The card is taken out.
        Absent = "absent",
        /// The card is there, its link down.
        Down = "down",
        /// The card is there, its link up.
        Up = "up",
    }
}
