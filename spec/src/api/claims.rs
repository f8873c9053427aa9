//! Claims to storage, DataVolumes and what they are filled from.

use std::collections::BTreeMap;

use super::{LabelSelector, ObjectMeta, Presence, Quantity};

object! {
    /// A claim to storage.
    pub struct PersistentVolumeClaim {
        /// `v1`.
        api_version: String, HONOURED;
        /// `PersistentVolumeClaim`.
        kind: String, HONOURED;
        /// Name and labels.
        metadata: ObjectMeta, HONOURED;
        /// The storage that is wanted.
        spec: PersistentVolumeClaimSpec, HONOURED;
        /// Written by the cluster and ignored on input.
        status: Option<serde_json::Value>, CLUSTER;
    }

    /// The storage that is wanted.
    pub struct PersistentVolumeClaimSpec {
        /// How it may be used, e.g. ReadWriteOnce.
        access_modes: Vec<String>, CLUSTER;
        /// Labels that the volume must have.
        selector: Option<LabelSelector>, CLUSTER;
        /// The size asked for.
        resources: Option<VolumeResources>, HONOURED;
        /// The volume that is claimed.
        volume_name: String, CLUSTER;
        /// The class of storage.
        storage_class_name: Option<String>, CLUSTER;
        /// Filesystem or Block.
        volume_mode: Option<String> = "Filesystem", HONOURED;
        /// What it is filled from.
        data_source: Option<TypedObjectReference>, CLUSTER;
        /// What it is filled from, in any name space.
        data_source_ref: Option<TypedObjectReference>, CLUSTER;
        /// The class of its attributes.
        volume_attributes_class_name: Option<String>, CLUSTER;
    }

    /// The size of a volume.
    pub struct VolumeResources {
        /// At least this: `storage`.
        requests: BTreeMap<String, Quantity>, HONOURED;
        /// At most this.
        limits: BTreeMap<String, Quantity>, CLUSTER;
    }

    /// An object by group, kind and name.
    pub struct TypedObjectReference {
        /// The group of its API.
        api_group: Option<String>, CLUSTER;
        /// Its kind.
        kind: String, CLUSTER;
        /// Its name.
        name: String, CLUSTER;
        /// Its name space.
        namespace: Option<String>, CLUSTER;
    }

    /// A claim that is filled with data.
    pub struct DataVolume {
        /// `cdi.kubevirt.io/v1beta1`.
        api_version: String, HONOURED;
        /// `DataVolume`.
        kind: String, HONOURED;
        /// Name and labels.
        metadata: ObjectMeta, HONOURED;
        /// The storage and the data.
        spec: DataVolumeSpec, HONOURED;
        /// Written by the cluster and ignored on input.
        status: Option<serde_json::Value>, CLUSTER;
    }

    /// A DataVolume that is made together with a VM.
    pub struct DataVolumeTemplateSpec {
        /// `cdi.kubevirt.io/v1beta1`.
        api_version: String, HONOURED;
        /// `DataVolume`.
        kind: String, HONOURED;
        /// The DataVolume's name and labels.
        metadata: ObjectMeta, HONOURED;
        /// The storage and the data.
        spec: DataVolumeSpec, HONOURED;
        /// Ignored on input.
        status: Option<serde_json::Value>, CLUSTER;
    }

    /// The storage and data of a DataVolume.
    pub struct DataVolumeSpec {
        /// Where the data comes from.
        source: Option<DataVolumeContents>, CLUSTER;
        /// An object that says where the data comes from.
        source_ref: Option<DataVolumeSourceRef>, CLUSTER;
        /// The claim that is made, as given.
        pvc: Option<PersistentVolumeClaimSpec>, CLUSTER;
        /// The claim that is made, with the cluster's choices.
        storage: Option<PersistentVolumeClaimSpec>, CLUSTER;
        /// The priority of the pods that fill it.
        priority_class_name: String, CLUSTER;
        /// `kubevirt` (a disk) or `archive`.
        content_type: String = "kubevirt", CLUSTER;
        /// The steps of an import in several steps.
        checkpoints: Vec<DataVolumeCheckpoint>, CLUSTER;
        /// Whether the last step is among them.
        final_checkpoint: bool = "false", CLUSTER;
        /// Take all space at once.
        preallocation: Option<bool>, CLUSTER;
    }

    /// Where the data of a DataVolume comes from.
    pub struct DataVolumeContents {
        ..from: DataVolumeOrigin;
    }

    /// An object that says where data comes from.
    pub struct DataVolumeSourceRef {
        /// Its kind.
        kind: String, CLUSTER;
        /// Its name space.
        namespace: Option<String>, CLUSTER;
        /// Its name.
        name: String, CLUSTER;
    }

    /// A step of an import in several steps.
    pub struct DataVolumeCheckpoint {
        /// The step before.
        previous: String, CLUSTER;
        /// The step.
        current: String, CLUSTER;
    }

    /// A web server.
    pub struct HttpOrigin {
        /// The address.
        url: String, CLUSTER;
        /// The Secret with user and password.
        secret_ref: String, CLUSTER;
        /// The ConfigMap with certificates.
        cert_config_map: String, CLUSTER;
        /// Headers to send.
        extra_headers: Vec<String>, CLUSTER;
        /// Secrets with headers to send.
        secret_extra_headers: Vec<String>, CLUSTER;
        /// Expected checksum.
        checksum: String, CLUSTER;
    }

    /// An S3 bucket.
    pub struct S3Origin {
        /// The address.
        url: String, CLUSTER;
        /// The Secret with the keys.
        secret_ref: String, CLUSTER;
        /// The ConfigMap with certificates.
        cert_config_map: String, CLUSTER;
    }

    /// A bucket of Google's cloud storage.
    pub struct GcsOrigin {
        /// The address.
        url: String, CLUSTER;
        /// The Secret with the key.
        secret_ref: String, CLUSTER;
    }

    /// A registry of container images.
    pub struct RegistryOrigin {
        /// The image.
        url: Option<String>, CLUSTER;
        /// An image stream of OpenShift.
        image_stream: Option<String>, CLUSTER;
        /// Who fetches it: pod or node.
        pull_method: Option<String>, CLUSTER;
        /// The Secret with user and password.
        secret_ref: Option<String>, CLUSTER;
        /// The ConfigMap with certificates.
        cert_config_map: Option<String>, CLUSTER;
        /// The platform of the image.
        platform: Option<RegistryPlatform>, CLUSTER;
    }

    /// The platform of an image.
    pub struct RegistryPlatform {
        /// The processor's architecture.
        architecture: String, CLUSTER;
    }

    /// Another claim.
    pub struct ClaimOrigin {
        /// Its name space.
        namespace: String, CLUSTER;
        /// Its name.
        name: String, CLUSTER;
    }

    /// A snapshot of a volume.
    pub struct SnapshotOrigin {
        /// Its name space.
        namespace: String, CLUSTER;
        /// Its name.
        name: String, CLUSTER;
    }

    /// A disk of oVirt.
    pub struct ImageioOrigin {
        /// The address of the engine.
        url: String, CLUSTER;
        /// The disk.
        disk_id: String, CLUSTER;
        /// The Secret with user and password.
        secret_ref: String, CLUSTER;
        /// The ConfigMap with certificates.
        cert_config_map: String, CLUSTER;
        /// Trust any certificate.
        insecure_skip_verify: Option<bool>, CLUSTER;
    }

    /// A disk of vSphere.
    pub struct VddkOrigin {
        /// The address of vCenter or ESXi.
        url: String, CLUSTER;
        /// The machine's UUID.
        uuid: String, CLUSTER;
        /// The disk's file.
        backing_file: String, CLUSTER;
        /// The server's thumb print.
        thumbprint: String, CLUSTER;
        /// The Secret with user and password.
        secret_ref: String, CLUSTER;
        /// The image with VMware's library.
        init_image_url as "initImageURL": String, CLUSTER;
        /// The ConfigMap with further arguments.
        extra_args: String, CLUSTER;
    }
}

union! {
    /// Where the data of a DataVolume comes from.
    pub enum DataVolumeOrigin {
        /// A web server.
        Http as "http" (HttpOrigin), CLUSTER;
        /// An S3 bucket.
        S3 as "s3" (S3Origin), CLUSTER;
        /// A bucket of Google's cloud storage.
        Gcs as "gcs" (GcsOrigin), CLUSTER;
        /// A registry of container images.
        Registry as "registry" (RegistryOrigin), CLUSTER;
        /// Another claim.
        Claim as "pvc" (ClaimOrigin), CLUSTER;
        /// A client's upload.
        Upload as "upload" (Presence), CLUSTER;
        /// Nothing.
        Blank as "blank" (Presence), CLUSTER;
        /// A disk of oVirt.
        Imageio as "imageio" (ImageioOrigin), CLUSTER;
        /// A disk of vSphere.
        Vddk as "vddk" (VddkOrigin), CLUSTER;
        /// A snapshot of a volume.
        Snapshot as "snapshot" (SnapshotOrigin), CLUSTER;
    }
}
