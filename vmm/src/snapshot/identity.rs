//! Clones: machines that are not who they were in the past that they share with others.

use net::MacAddress;
use net::host::Wanted;
use spec::Uuid;

use super::SnapshotError;
use crate::agent::NewIdentity;
use crate::plan::{BindingPlan, DevicePlan, NicPlan, Plan};
use crate::sys::line;

/// What of a machine is another one than before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Renewal<'a> {
    /// It has another identity altogether: identifier, host name, hardware addresses.
    pub(super) all: bool,
    /// Addresses for the cards on these networks.
    pub(super) macs: &'a [(String, MacAddress)],
}

/// Gives the machine of `plan` its new identity; gives back what its guest has to be told, if anything. `was` is its name
/// before.
///
/// What the firmware told the guest is in the guest's memory: it sees the new identifiers after its next start.
pub(super) fn renew(
    plan: &mut Plan,
    was: &str,
    renewal: &Renewal<'_>,
) -> Result<Option<NewIdentity>, SnapshotError> {
    let mut identity = NewIdentity::default();
    if renewal.all {
        // As KubeVirt makes it of a name; one that keeps its name has another all the same.
        let uuid = if plan.name == was { random()? } else { Uuid::of_machine(&plan.name) };
        plan.smbios.uuid = uuid.to_string();
        plan.smbios.serial.clear();
        identity.host_name = (plan.name != was).then(|| plan.name.clone());
        identity.machine_id = true;
    }
    for function in &mut plan.functions {
        let DevicePlan::Nic(nic) = &mut function.device else { continue };
        let given = renewal.macs.iter().find(|(network, _)| *network == nic.network).map(|(_, mac)| *mac);
        let mac = match given {
            Some(mac) => mac,
            None if renewal.all && !is_pods(nic) => random_address()?,
            None => continue,
        };
        identity.cards.push((nic.mac, mac));
        set_address(nic, mac, identity.host_name.as_deref());
    }
    Ok((renewal.all || !identity.cards.is_empty()).then_some(identity))
}

/// Whether the guest stands for a pod, whose address it has.
fn is_pods(nic: &NicPlan) -> bool {
    matches!(nic.binding, BindingPlan::Made(Wanted::PodBridge { .. }))
}

fn set_address(nic: &mut NicPlan, mac: MacAddress, host_name: Option<&str>) {
    nic.mac = mac;
    if let BindingPlan::Made(Wanted::Macvtap { mac: own, .. }) = &mut nic.binding {
        *own = mac;
    }
    let Some(answers) = &mut nic.answers else { return };
    // The guest asks with its old address until it has taken the new one over.
    if let Some(lease) = &mut answers.lease4 {
        lease.client = None;
        if let (Some(told), Some(name)) = (&mut lease.hostname, host_name) {
            name.clone_into(told);
        }
    }
    if let Some(lease) = &mut answers.lease6 {
        lease.client = None;
    }
}

/// An address that is nobody's: administered locally, for one station.
fn random_address() -> Result<MacAddress, SnapshotError> {
    let [a, b, c, d, e, ..] = random()?.bytes();
    Ok(MacAddress([0x02, a, b, c, d, e]))
}

fn random() -> Result<Uuid, SnapshotError> {
    let none = |_| SnapshotError::Host("the host gives no random numbers".to_owned());
    line::random_uuid().parse().map_err(none)
}

#[cfg(test)]
mod tests {
    use net::dhcp::{Answers, Extras4, Lease4};
    use serde_json::json;

    use super::*;
    use crate::plan::Function;
    use crate::snapshot::Manifest;

    const OLD: &str = "02:00:00:00:00:01";

    /// A machine with a card on each of these ways to a network.
    fn plan(bindings: &[serde_json::Value]) -> Plan {
        let manifest: Manifest = serde_json::from_str(include_str!("golden/snapshot-v1.json")).unwrap();
        let mut plan = manifest.plan;
        for (number, binding) in bindings.iter().enumerate() {
            let nic = json!({"network": format!("net{number}"), "binding": binding, "mac": OLD, "queuePairs": 1, "linkUp": true});
            let mut function = serde_json::to_value(&plan.functions[0]).unwrap();
            function["name"] = json!(format!("net{number}"));
            function["device"] = json!({ "nic": nic });
            plan.functions.push(serde_json::from_value::<Function>(function).unwrap());
        }
        plan
    }

    fn nics(plan: &Plan) -> Vec<NicPlan> {
        let nic = |function: &Function| match &function.device {
            DevicePlan::Nic(nic) => Some((**nic).clone()),
            _ => None,
        };
        plan.functions.iter().filter_map(nic).collect()
    }

    fn tap() -> serde_json::Value {
        json!({"interface": {"name": "tap0"}})
    }

    #[test]
    fn a_clone_has_another_name_other_addresses_and_another_identifier() {
        let mut plan = plan(&[
            tap(),
            json!({"made": {"macvtap": {"parent": "eth0", "name": "m", "mac": OLD, "mode": "bridge", "queues": 1}}}),
            json!({"made": {"podBridge": {"pod": "eth0", "tap": "t", "bridge": "b", "queues": 1, "mtu": 1500}}}),
        ]);
        let was = std::mem::replace(&mut plan.name, "clone".into());
        plan.smbios.serial = "S".into();
        let identity = renew(&mut plan, &was, &Renewal { all: true, macs: &[] }).unwrap().unwrap();
        assert_eq!(identity.host_name.as_deref(), Some("clone"));
        assert_eq!(plan.smbios.uuid, Uuid::of_machine("clone").to_string());
        assert_eq!(plan.smbios.serial, "");
        let old: MacAddress = OLD.parse().unwrap();
        let nics = nics(&plan);
        assert!(nics[0].mac != old && nics[1].mac != old && nics[0].mac != nics[1].mac);
        assert!(nics.iter().all(|nic| nic.mac.0[0] == 2), "administered locally, of one station");
        assert_eq!(nics[2].mac, old, "it stands for a pod");
        assert_eq!(identity.cards, [(old, nics[0].mac), (old, nics[1].mac)]);
        let BindingPlan::Made(Wanted::Macvtap { mac, .. }) = &nics[1].binding else { panic!() };
        assert_eq!(*mac, nics[1].mac);
    }

    #[test]
    fn who_keeps_the_name_keeps_the_host_name_and_who_keeps_all_is_told_nothing() {
        let mut plan = plan(&[tap(), tap()]);
        let was = plan.name.clone();
        let before = plan.smbios.uuid.clone();
        assert_eq!(renew(&mut plan, &was, &Renewal::default()).unwrap(), None);
        let macs = [("net1".to_owned(), MacAddress([2, 0, 0, 0, 0, 9]))];
        let identity = renew(&mut plan, &was, &Renewal { all: false, macs: &macs }).unwrap().unwrap();
        assert_eq!((identity.host_name, identity.machine_id, identity.cards.len()), (None, false, 1));
        assert_eq!((nics(&plan)[0].mac.to_string(), nics(&plan)[1].mac), (OLD.to_owned(), macs[0].1));
        assert_eq!(plan.smbios.uuid, before);
        let identity = renew(&mut plan, &was, &Renewal { all: true, macs: &macs }).unwrap().unwrap();
        assert_eq!((identity.host_name, identity.machine_id, identity.cards.len()), (None, true, 2));
        assert_eq!(nics(&plan)[1].mac, macs[0].1, "what was given stays");
        assert_ne!(plan.smbios.uuid, before);
    }

    #[test]
    fn the_guest_is_answered_under_both_addresses_and_told_its_new_name() {
        let mut plan = plan(&[tap()]);
        let old: MacAddress = OLD.parse().unwrap();
        let lease = Lease4 {
            client: Some(old),
            address: [10, 0, 0, 2].into(),
            prefix: 24,
            server: [10, 0, 0, 1].into(),
            router: None,
            routes: Vec::new(),
            dns: Vec::new(),
            search: Vec::new(),
            hostname: Some("payload".into()),
            mtu: None,
            extras: Extras4::default(),
            seconds: 1,
        };
        let answers = Answers {
            server_mac: old,
            lease4: Some(lease),
            lease6: None,
            advert: None,
            neighbours: Vec::new(),
        };
        let Some(DevicePlan::Nic(nic)) = plan.functions.last_mut().map(|last| &mut last.device) else {
            panic!()
        };
        nic.answers = Some(answers);
        let was = std::mem::replace(&mut plan.name, "clone".into());
        renew(&mut plan, &was, &Renewal { all: true, macs: &[] }).unwrap();
        let lease = nics(&plan)[0].answers.clone().unwrap().lease4.unwrap();
        assert_eq!((lease.client, lease.hostname.as_deref()), (None, Some("clone")));
    }
}
