//! `spec.volumes`.

use super::{LocalObjectReference, Presence, Quantity};

object! {
    /// A piece of storage. The disk or file system of the same name shows it to the guest.
    pub struct Volume {
        /// The volume's name, which is also its disk's.
        name: String [required], HONOURED;
        ..source: VolumeSource;
    }

    /// A disk image in a container image; what the guest writes is gone with the VM.
    pub struct ContainerDiskSource {
        /// The container image.
        image: String [required], HONOURED;
        /// The secret with which a cluster fetches the image.
        image_pull_secret: String, CLUSTER;
        /// The disk image's path within the container image.
        path: String = "the only file in /disk", HONOURED;
        /// When a cluster fetches the image.
        image_pull_policy: Option<String>, CLUSTER;
    }

    /// Data for cloud-init, in its NoCloud or its config drive form.
    pub struct CloudInitNoCloudSource {
        /// The secret that holds the user data under `userdata`.
        secret_ref: Option<LocalObjectReference>, HONOURED;
        /// The user data in base64.
        user_data_base64: String, HONOURED;
        /// The user data, up to 2048 bytes.
        user_data: String, HONOURED;
        /// The secret that holds the network data under `networkdata`.
        network_data_secret_ref: Option<LocalObjectReference>, HONOURED;
        /// The network data in base64.
        network_data_base64: String, HONOURED;
        /// The network data, up to 2048 bytes.
        network_data: String, HONOURED;
    }

    /// An empty disk that lives as long as the VM.
    pub struct EmptyDiskSource {
        /// Its size.
        capacity: Quantity [required], HONOURED;
    }

    /// A disk image file of the host.
    pub struct HostDisk {
        /// The file.
        path: String [required], HONOURED;
        /// Whether the file is made when it is missing.
        r#type as "type": Option<HostDiskType> [required], HONOURED;
        /// The size of a file that is made.
        capacity: Option<Quantity>, HONOURED;
        /// Other VMs may use the file too.
        shared: Option<bool> = "false", warn_when(When::True, "writers are not kept apart: the guests must coordinate");
    }

    /// A claim to storage, found as `<claimName>/disk.img` (raw), `<claimName>/disk.qcow2` or a block device in the folder of
    /// volumes. An empty one gets a raw image.
    pub struct PersistentVolumeClaimSource {
        /// The claim.
        claim_name: String [required], HONOURED;
        /// The guest may not write.
        read_only: bool = "false", HONOURED;
        /// The volume was or may be added while the VM runs.
        hotpluggable: bool = "false", CLUSTER;
    }

    /// A DataVolume, whose claim has the same name.
    pub struct DataVolumeSource {
        /// The DataVolume.
        name: String [required], HONOURED;
        /// The volume was or may be added while the VM runs.
        hotpluggable: bool = "false", CLUSTER;
    }

    /// A claim that is only read; what the guest writes is gone with the VM.
    pub struct EphemeralSource {
        /// The claim.
        persistent_volume_claim: Option<PersistentVolumeClaimSource>, HONOURED;
    }

    /// A ConfigMap as a disk of files.
    pub struct ConfigMapSource {
        /// The ConfigMap.
        name: String, HONOURED;
        /// The VM may start without it.
        optional: Option<bool> = "false", HONOURED;
        /// The label of the disk.
        volume_label: String = "cfgdata", HONOURED;
    }

    /// A Secret as a disk of files.
    pub struct SecretSource {
        /// The Secret.
        secret_name: String, HONOURED;
        /// The VM may start without it.
        optional: Option<bool> = "false", HONOURED;
        /// The label of the disk.
        volume_label: String = "cfgdata", HONOURED;
    }

    /// Facts about the VM as a disk of files.
    pub struct DownwardApiSource {
        /// The files.
        fields: Vec<DownwardApiFile>, HONOURED;
        /// The label of the disk.
        volume_label: String = "cfgdata", HONOURED;
    }

    /// A file with a fact about the VM.
    pub struct DownwardApiFile {
        /// The file's name.
        path: String [required], HONOURED;
        /// A field of the machine; a cluster shows its pod's instead.
        field_ref: Option<ObjectFieldSelector>, HONOURED;
        /// A resource of the machine.
        resource_field_ref: Option<ResourceFieldSelector>, HONOURED;
        /// The file's permissions.
        mode: Option<i32>, warn("everybody in the guest may read the file, and nobody may write it");
    }

    /// A field of an object.
    pub struct ObjectFieldSelector {
        /// The object's API version.
        api_version: String, CLUSTER;
        /// The field: metadata.name, namespace, uid, labels, annotations, labels['KEY'] or annotations['KEY'].
        field_path: String [required], HONOURED;
    }

    /// A resource of a container.
    pub struct ResourceFieldSelector {
        /// The container; there is but one machine.
        container_name: String, CLUSTER;
        /// The resource, as `limits.cpu`, out of the machine's `domain.resources`.
        resource: String [required], HONOURED;
        /// The unit in which it is written.
        divisor: Option<Quantity>, HONOURED;
    }

    /// The token of a service account as a disk of files.
    pub struct ServiceAccountSource {
        /// The service account.
        service_account_name: String, HONOURED;
    }

    /// Answers for Windows' set-up; exactly one of the two.
    pub struct SysprepSource {
        /// From a Secret.
        secret: Option<LocalObjectReference>, HONOURED;
        /// From a ConfigMap.
        config_map: Option<LocalObjectReference>, HONOURED;
    }

    /// A claim that takes dumps of the guest's memory.
    pub struct MemoryDumpSource {
        /// The claim.
        claim_name: String [required], HONOURED;
        /// The claim may not be written.
        read_only: bool = "false", HONOURED;
        /// The volume was or may be added while the VM runs.
        hotpluggable: bool = "false", CLUSTER;
    }

    /// A folder of the launcher's container.
    pub struct ContainerPathSource {
        /// The folder.
        path: String [required], HONOURED;
        /// The guest may not write.
        read_only: Option<bool>, HONOURED;
    }
}

union! {
    /// Where a volume's contents come from.
    pub enum VolumeSource {
        /// A disk image in a container image.
        ContainerDisk as "containerDisk" (ContainerDiskSource), HONOURED;
        /// Data for cloud-init in its NoCloud form.
        CloudInitNoCloud as "cloudInitNoCloud" (CloudInitNoCloudSource), HONOURED;
        /// Data for cloud-init in its config drive form.
        CloudInitConfigDrive as "cloudInitConfigDrive" (CloudInitNoCloudSource), HONOURED;
        /// A claim to storage.
        PersistentVolumeClaim as "persistentVolumeClaim" (PersistentVolumeClaimSource), HONOURED;
        /// A DataVolume.
        DataVolume as "dataVolume" (DataVolumeSource), HONOURED;
        /// A disk image file of the host.
        HostDisk as "hostDisk" (HostDisk), HONOURED;
        /// An empty disk.
        EmptyDisk as "emptyDisk" (EmptyDiskSource), HONOURED;
        /// A claim that is only read.
        Ephemeral as "ephemeral" (EphemeralSource), HONOURED;
        /// A ConfigMap as a disk of files.
        ConfigMap as "configMap" (ConfigMapSource), HONOURED;
        /// A Secret as a disk of files.
        Secret as "secret" (SecretSource), HONOURED;
        /// Facts about the VM as a disk of files.
        DownwardApi as "downwardAPI" (DownwardApiSource), HONOURED;
        /// The token of a service account as a disk of files.
        ServiceAccount as "serviceAccount" (ServiceAccountSource), HONOURED;
        /// Answers for Windows' set-up.
        Sysprep as "sysprep" (SysprepSource), HONOURED;
        /// Measurements of the host for the guest.
        DownwardMetrics as "downwardMetrics" (Presence),
            no("the guest cannot get measurements of the host: remove the volume and its disk");
        /// A claim that takes dumps of the guest's memory.
        MemoryDump as "memoryDump" (MemoryDumpSource), no("memory dumps cannot be taken: remove the volume");
        /// A folder of the launcher's container.
        ContainerPath as "containerPath" (ContainerPathSource),
            no("folders cannot be shared with the guest (virtiofs): remove the volume");
    }
}

choice! {
    /// Whether a host disk is made when it is missing.
    pub enum HostDiskType {
        /// It must exist.
        Disk = "Disk",
        /// It is made when missing.
        DiskOrCreate = "DiskOrCreate",
    }
}
