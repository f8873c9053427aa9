//! Manifests, made by code.

use serde_json::{Value, json};

/// A VirtualMachineInstance in the making. JSON is YAML too.
#[derive(Debug, Clone)]
pub struct Manifest(pub Value);

impl Manifest {
    /// A machine of 256 MiB and one CPU, without a kernel.
    #[must_use]
    pub fn bare(name: &str) -> Self {
        Self(json!({
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachineInstance",
            "metadata": {"name": name},
            "spec": {
                "terminationGracePeriodSeconds": 30,
                "domain": {"memory": {"guest": "256Mi"}, "devices": {"autoattachPodInterface": false}},
            },
        }))
    }

    /// The same, booting `kernel` (`vmlinux` or `vmlinuz`) of a guest image.
    #[must_use]
    pub fn linux(name: &str, image: &str, kernel: &str) -> Self {
        let mut manifest = Self::bare(name);
        manifest.set(
            "/spec/domain/firmware",
            json!({"kernelBoot": {
                "kernelArgs": KERNEL_ARGS,
                "container": {"image": image, "kernelPath": format!("/boot/{kernel}"), "initrdPath": "/boot/initrd.img"},
            }}),
        );
        manifest
    }

    /// Puts `value` at a JSON pointer whose parents are objects, made if absent.
    pub fn set(&mut self, pointer: &str, value: Value) {
        let mut place = &mut self.0;
        for key in pointer.split('/').skip(1) {
            if !place.is_object() {
                *place = json!({});
            }
            place = match place.as_object_mut() {
                Some(object) => object.entry(key).or_insert(Value::Null),
                None => return,
            };
        }
        *place = value;
    }

    /// Appends `value` to the list at a JSON pointer, made if absent.
    pub fn push(&mut self, pointer: &str, value: Value) {
        if self.0.pointer(pointer).is_none() {
            self.set(pointer, json!([]));
        }
        if let Some(list) = self.0.pointer_mut(pointer).and_then(Value::as_array_mut) {
            list.push(value);
        }
    }

    /// So much memory, as a quantity.
    #[must_use]
    pub fn memory(mut self, guest: &str) -> Self {
        self.set("/spec/domain/memory/guest", json!(guest));
        self
    }

    /// So many cores in one socket.
    #[must_use]
    pub fn cores(mut self, cores: u32) -> Self {
        self.set("/spec/domain/cpu/cores", json!(cores));
        self
    }

    /// More words for the kernel's command line.
    #[must_use]
    pub fn kernel_args(mut self, more: &str) -> Self {
        self.set("/spec/domain/firmware/kernelBoot/kernelArgs", json!(format!("{KERNEL_ARGS} {more}")));
        self
    }

    /// Seconds that the guest is given after the power button.
    #[must_use]
    pub fn grace(mut self, seconds: u64) -> Self {
        self.set("/spec/terminationGracePeriodSeconds", json!(seconds));
        self
    }

    /// A disk on a claim; `more` is merged into the disk.
    #[must_use]
    pub fn claim(mut self, name: &str, claim: &str, more: Value) -> Self {
        let mut disk = json!({"name": name, "disk": {"bus": "virtio"}, "serial": name});
        merge(&mut disk, more);
        self.push("/spec/domain/devices/disks", disk);
        self.push("/spec/volumes", json!({"name": name, "persistentVolumeClaim": {"claimName": claim}}));
        self
    }

    /// A NoCloud volume with this user data.
    #[must_use]
    pub fn cloud_init(mut self, user_data: &str) -> Self {
        self.push("/spec/domain/devices/disks", json!({"name": "seed", "disk": {"bus": "virtio"}}));
        self.push("/spec/volumes", json!({"name": "seed", "cloudInitNoCloud": {"userData": user_data}}));
        self
    }

    /// An interface on a tap that `--tap NAME=IFNAME` gives.
    #[must_use]
    pub fn tap(mut self, name: &str, mac: &str) -> Self {
        let interface = json!({"name": name, "macAddress": mac, "binding": {"name": "macvtap"}});
        self.push("/spec/domain/devices/interfaces", interface);
        self.push("/spec/networks", json!({"name": name, "multus": {"networkName": name}}));
        self
    }
}

/// What every test guest's kernel is told. Each byte of its log is an exit of the emulated processor, hence `quiet`.
pub const KERNEL_ARGS: &str = "console=ttyS0 panic=-1 quiet";

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_made_and_lists_grow() {
        let manifest = Manifest::bare("x").cores(2).claim("root", "c", json!({"disk": {"readonly": true}}));
        let manifest = manifest.claim("data", "d", json!({}));
        assert_eq!(manifest.0.pointer("/spec/domain/cpu/cores"), Some(&json!(2)));
        assert_eq!(
            manifest.0.pointer("/spec/domain/devices/disks/0/disk"),
            Some(&json!({"bus": "virtio", "readonly": true}))
        );
        assert_eq!(manifest.0.pointer("/spec/volumes/1/name"), Some(&json!("data")));
    }
}
