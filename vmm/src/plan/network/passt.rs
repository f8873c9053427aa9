//! User-mode networking by passt, and which ports lead to a guest.

use net::host::Forwards;
use net::nft::{Forward, Protocol};
use net::passt::PasstPlan;

use super::bindings::Choice;
use super::{BindingPlan, Card, PlanError};

impl Card<'_> {
    /// User-mode networking.
    pub(super) fn passt(&self) -> Result<Choice, PlanError> {
        let Some(program) = self.given.survey.passt.clone() else {
            let message =
                format!("the program passt is not in PATH: install it (apt install passt){}", self.or_tap());
            return Err(self.host_fault(message));
        };
        let forwards = match self.ports() {
            ports if !ports.is_empty() => Forwards::Only(ports),
            _ if self.given.survey.in_pod => Forwards::All,
            _ => Forwards::Only(Vec::new()),
        };
        let primary = self.given.survey.primary();
        let interface = self.pod_network().map(|pod| pod.name.clone());
        Ok(Choice {
            binding: BindingPlan::Passt(PasstPlan { interface, ..PasstPlan::new(program, forwards) }),
            own_mac: None,
            pod_interface: primary.map(|primary| primary.name.clone()).unwrap_or_default(),
        })
    }

    /// passt where the binding cannot be had.
    pub(super) fn passt_instead(&self, warnings: &mut Vec<PlanError>) -> Result<Choice, PlanError> {
        let key = self.interface.binding.key().unwrap_or_default();
        let reason = if self.may_make() {
            "it would take this machine's own address away; --pod-network INTERFACE allows that"
        } else {
            "it takes the right to configure the network (CAP_NET_ADMIN) and /dev/net/tun"
        };
        if self.given.survey.passt.is_none() {
            return Err(self.host_fault(format!(
                "{key} cannot be had here ({reason}), and the program passt, which would do instead, is not in PATH: install \
                 it (apt install passt){}",
                self.or_tap()
            )));
        }
        let ports = if self.ports().is_empty() && !self.given.survey.in_pod {
            "; no port of this machine leads to the guest, since none is named"
        } else {
            ""
        };
        let message = format!("passt takes the place of {key} ({reason}){ports}");
        warnings.push(PlanError::at(self.field(key), message));
        self.passt()
    }

    /// The ports that lead to the guest.
    pub(super) fn ports(&self) -> Vec<Forward> {
        let protocol =
            |text: &str| if text.eq_ignore_ascii_case("UDP") { Protocol::Udp } else { Protocol::Tcp };
        let number = |number: i32| u16::try_from(number).unwrap_or(0);
        let ports = self.interface.ports.iter().map(|port| {
            let number = number(port.port);
            Forward { protocol: protocol(&port.protocol), first: number, last: number, range: false }
        });
        let ranges = self.interface.port_ranges.iter().map(|range| Forward {
            protocol: protocol(&range.protocol),
            first: number(range.start),
            last: number(range.end),
            range: true,
        });
        ports.chain(ranges).collect()
    }
}
