//! VirtualMachineInstance: the specification.

use std::collections::BTreeMap;

use super::{
    Affinity, DomainSpec, IntOrString, Network, ObjectMeta, PodDnsConfig, Toleration,
    TopologySpreadConstraint, VirtualMachineInstanceStatus, Volume,
};

object! {
    /// A virtual machine that runs once.
    pub struct VirtualMachineInstance {
        /// `kubevirt.io/v1`.
        api_version: String, HONOURED;
        /// `VirtualMachineInstance`.
        kind: String, HONOURED;
        /// Name, labels and annotations.
        metadata: ObjectMeta, HONOURED;
        /// The machine that is wanted.
        spec: VirtualMachineInstanceSpec [required], HONOURED;
        /// The machine that is; written by the cluster and ignored on input.
        status: Option<Box<VirtualMachineInstanceStatus>>, CLUSTER;
    }

    /// The machine that is wanted, with its storage and networks.
    pub struct VirtualMachineInstanceSpec {
        /// The pod's priority in the cluster.
        priority_class_name: String, CLUSTER;
        /// The machine itself.
        domain: DomainSpec [required], HONOURED;
        /// Labels that the node must have.
        node_selector: BTreeMap<String, String>, CLUSTER;
        /// Which nodes and neighbours the pod likes.
        affinity: Option<Affinity>, CLUSTER;
        /// The scheduler that places the pod.
        scheduler_name: String, CLUSTER;
        /// Taints of nodes that the pod bears.
        tolerations: Vec<Toleration>, CLUSTER;
        /// How VMs are spread over nodes and zones.
        topology_spread_constraints: Vec<TopologySpreadConstraint>, CLUSTER;
        /// What becomes of the VM when its node is emptied.
        eviction_strategy: Option<EvictionStrategy> = "None", HONOURED;
        /// Whether the machine starts running or paused.
        start_strategy: Option<StartStrategy>, HONOURED;
        /// The seconds between the press of the power button and a forced stop.
        termination_grace_period_seconds: Option<i64> = "30", HONOURED;
        /// The volumes that disks and file systems show.
        volumes: Vec<Volume>, HONOURED;
        /// When the VM counts as hung.
        liveness_probe: Option<Probe>, HONOURED;
        /// When the VM counts as ready.
        readiness_probe: Option<Probe>, HONOURED;
        /// The guest's host name.
        hostname: Option<String> = "the VM's name up to the first dot", HONOURED;
        /// The guest's subdomain within the cluster.
        subdomain: Option<String>, warn("the guest learns its subdomain by DHCP only (bridge, masquerade)");
        /// The networks that cards are attached to.
        networks: Vec<Network> = "the pod network, when there are no cards", HONOURED;
        /// Where names are resolved.
        dns_policy: Option<String> = "ClusterFirst", CLUSTER;
        /// Name servers and search domains.
        dns_config: Option<PodDnsConfig>, CLUSTER;
        /// Keys and passwords put into the guest.
        access_credentials: Vec<AccessCredential>, HONOURED;
        /// The processor's architecture.
        architecture: Option<String> = "amd64",
            no_when(When::NoneOf(&["amd64"]), "guests run on this host's processor, amd64");
        /// Devices claimed by dynamic resource allocation.
        resource_claims: Vec<PodResourceClaim>, warn("resource claims need a cluster");
        /// The service account of the pod.
        service_account_name: String, CLUSTER;
        /// Helper volumes that a cluster adds while the VM runs.
        utility_volumes: Vec<UtilityVolume>, CLUSTER;
    }

    /// A test of the guest's health; exactly one of the handlers.
    pub struct Probe {
        /// Run a program in the guest.
        exec: Option<ExecAction>, HONOURED;
        /// Ask the guest agent.
        guest_agent_ping: Option<super::Presence>, HONOURED;
        /// Ask by HTTP.
        http_get: Option<HttpGetAction>, HONOURED;
        /// Open a TCP connection.
        tcp_socket: Option<TcpSocketAction>, HONOURED;
        /// Seconds before the first test.
        initial_delay_seconds: i32 = "0", HONOURED;
        /// Seconds after which a test has failed.
        timeout_seconds: i32 = "1", HONOURED;
        /// Seconds between tests.
        period_seconds: i32 = "10", HONOURED;
        /// Tests in a row that make a success.
        success_threshold: i32 = "1", HONOURED;
        /// Tests in a row that make a failure.
        failure_threshold: i32 = "3", HONOURED;
    }

    /// Run a program in the guest.
    pub struct ExecAction {
        /// The program and its arguments.
        command: Vec<String>, HONOURED;
    }

    /// Ask by HTTP.
    pub struct HttpGetAction {
        /// The path.
        path: String = "/", HONOURED;
        /// The port by number or name.
        port: IntOrString [required], HONOURED;
        /// The host, the VM by default.
        host: String, HONOURED;
        /// HTTP or HTTPS.
        scheme: String = "HTTP",
            warn_when(When::NoneOf(&["HTTP"]), "kubevmm speaks no TLS: only whether the port takes connections is probed");
        /// Headers to send.
        http_headers: Vec<HttpHeader>, HONOURED;
    }

    /// A header of an HTTP request.
    pub struct HttpHeader {
        /// Its name.
        name: String [required], HONOURED;
        /// Its value.
        value: String [required], HONOURED;
    }

    /// Open a TCP connection.
    pub struct TcpSocketAction {
        /// The port by number or name.
        port: IntOrString [required], HONOURED;
        /// The host, the VM by default.
        host: String, HONOURED;
    }

    /// A key or password put into the guest; exactly one.
    pub struct AccessCredential {
        /// A public key for SSH.
        ssh_public_key: Option<SshPublicKeyAccessCredential>, HONOURED;
        /// A user's password.
        user_password: Option<UserPasswordAccessCredential>, HONOURED;
    }

    /// A public key for SSH.
    pub struct SshPublicKeyAccessCredential {
        /// Where the key comes from.
        source: CredentialSource [required], HONOURED;
        /// How it gets into the guest; exactly one.
        propagation_method: SshPropagationMethod [required], HONOURED;
    }

    /// A user's password.
    pub struct UserPasswordAccessCredential {
        /// Where the password comes from.
        source: CredentialSource [required], HONOURED;
        /// How it gets into the guest.
        propagation_method: PasswordPropagationMethod [required], HONOURED;
    }

    /// Where a key or password comes from.
    pub struct CredentialSource {
        /// A Secret.
        secret: Option<CredentialSecret>, HONOURED;
    }

    /// A Secret with keys or passwords.
    pub struct CredentialSecret {
        /// The Secret.
        secret_name: String [required], HONOURED;
    }

    /// How a public key gets into the guest; exactly one.
    pub struct SshPropagationMethod {
        /// By cloud-init's config drive.
        config_drive: Option<super::Presence>, HONOURED;
        /// By cloud-init's NoCloud volume.
        no_cloud: Option<super::Presence>, HONOURED;
        /// By the guest agent.
        qemu_guest_agent: Option<GuestAgentUsers>, HONOURED;
    }

    /// The users who get a key.
    pub struct GuestAgentUsers {
        /// Their names.
        users: Vec<String> [required], HONOURED;
    }

    /// How a password gets into the guest.
    pub struct PasswordPropagationMethod {
        /// By the guest agent.
        qemu_guest_agent: Option<super::Presence>, HONOURED;
    }

    /// Devices claimed by dynamic resource allocation.
    pub struct PodResourceClaim {
        /// The name by which devices refer to the claim.
        name: String [required], CLUSTER;
        /// The claim.
        resource_claim_name: Option<String>, CLUSTER;
        /// A template that a claim is made from.
        resource_claim_template_name: Option<String>, CLUSTER;
    }

    /// A helper volume that a cluster adds while the VM runs.
    pub struct UtilityVolume {
        /// The volume's name.
        name: String [required], CLUSTER;
        /// The claim.
        claim_name: String, CLUSTER;
        /// The claim may not be written.
        read_only: bool, CLUSTER;
        /// What the volume is for: MemoryDump or Backup.
        r#type as "type": Option<String>, CLUSTER;
    }
}

choice! {
    /// What becomes of the VM when its node is emptied.
    pub enum EvictionStrategy [pointer] {
        /// It is stopped.
        None = "None",
        /// It moves to another node, or the node waits.
        LiveMigrate = "LiveMigrate",
        /// It moves to another node if it can.
        LiveMigrateIfPossible = "LiveMigrateIfPossible",
        /// Another controller decides.
        External = "External",
    }

    /// Whether the machine starts running or paused.
    pub enum StartStrategy [pointer] {
        /// It starts paused.
        Paused = "Paused",
    }
}
