//! VirtualMachine: a VirtualMachineInstance with a will to live.

use super::{DataVolumeTemplateSpec, ObjectMeta, VirtualMachineInstanceSpec};

object! {
    /// A virtual machine that can be started and stopped.
    pub struct VirtualMachine {
        /// `kubevirt.io/v1`.
        api_version: String, HONOURED;
        /// `VirtualMachine`.
        kind: String, HONOURED;
        /// Name, labels and annotations.
        metadata: ObjectMeta, HONOURED;
        /// When it runs, and what.
        spec: VirtualMachineSpec [required], HONOURED;
        /// Written by the cluster and ignored on input.
        status: Option<serde_json::Value>, CLUSTER;
    }

    /// When a virtual machine runs, and what.
    pub struct VirtualMachineSpec {
        /// Whether it runs, in the old form; not together with runStrategy.
        running: Option<bool>,
            warn_when(When::False, "`kubevmm run` starts the machine all the same");
        /// When it runs.
        run_strategy: Option<RunStrategy> = "Halted",
            warn_when(When::OneOf(&["WaitAsReceiver"]), "the machine starts by itself: it waits for no migration");
        /// An instancetype that sizes the machine.
        instancetype: Option<InstancetypeMatcher>, HONOURED;
        /// A preference that fills what the machine leaves open.
        preference: Option<PreferenceMatcher>, HONOURED;
        /// The instance that is run.
        template: VirtualMachineInstanceTemplateSpec [required], HONOURED;
        /// DataVolumes that a cluster makes for the machine.
        data_volume_templates: Vec<DataVolumeTemplateSpec>,
            warn("only blank volumes are made: the image of any other must be there under the DataVolume's name");
        /// How changed volumes are taken up.
        update_volumes_strategy: Option<String>, CLUSTER;
    }

    /// The instance that a virtual machine runs.
    pub struct VirtualMachineInstanceTemplateSpec {
        /// Labels and annotations of the instance.
        metadata: ObjectMeta, HONOURED;
        /// The machine that is wanted.
        spec: VirtualMachineInstanceSpec, HONOURED;
    }

    /// Names an instancetype.
    pub struct InstancetypeMatcher {
        /// Its name.
        name: String, HONOURED;
        /// Its kind.
        kind: String = "VirtualMachineClusterInstancetype", HONOURED;
        /// A version of it, kept by the cluster.
        revision_name: String, CLUSTER;
        /// Take the name from a label of this volume's claim.
        infer_from_volume: String, no("labels of claims are not looked at: give the name");
        /// What happens when the volume names none.
        infer_from_volume_failure_policy: Option<String>, CLUSTER;
    }

    /// Names a preference.
    pub struct PreferenceMatcher {
        /// Its name.
        name: String, HONOURED;
        /// Its kind.
        kind: String = "VirtualMachineClusterPreference", HONOURED;
        /// A version of it, kept by the cluster.
        revision_name: String, CLUSTER;
        /// Take the name from a label of this volume's claim.
        infer_from_volume: String, no("labels of claims are not looked at: give the name");
        /// What happens when the volume names none.
        infer_from_volume_failure_policy: Option<String>, CLUSTER;
    }
}

choice! {
    /// When a virtual machine runs.
    pub enum RunStrategy [pointer] {
        /// Always: it starts again whenever it ends.
        Always = "Always",
        /// Not until it is asked for.
        Halted = "Halted",
        /// As it is told.
        Manual = "Manual",
        /// It starts again when it has failed.
        RerunOnFailure = "RerunOnFailure",
        /// Once.
        Once = "Once",
        /// When another machine migrates into it.
        WaitAsReceiver = "WaitAsReceiver",
    }
}
