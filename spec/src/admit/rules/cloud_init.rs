//! cloud-init volumes.

use super::super::Findings;
use crate::api::{LocalObjectReference, VirtualMachineInstanceSpec, VolumeSource};
use crate::base64;

/// The most bytes of data that stand in the object itself; more goes into a Secret.
const MOST_BYTES: usize = 2048;

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    for (index, volume) in spec.volumes.iter().enumerate() {
        let (VolumeSource::CloudInitNoCloud(source) | VolumeSource::CloudInitConfigDrive(source)) =
            &volume.source
        else {
            continue;
        };
        let user = data(&source.user_data, &source.user_data_base64, &source.secret_ref, &USER);
        let network = data(
            &source.network_data,
            &source.network_data_base64,
            &source.network_data_secret_ref,
            &NETWORK,
        );
        let path = format!("spec.volumes[{index}].{}", volume.source.key().unwrap_or_default());
        for data in [&user, &network] {
            base64_is_base64(data, &path, findings);
            data_is_given_once(data, &path, findings);
            data_is_short(data, &path, findings);
        }
        if user.count() == 0 && network.count() == 0 {
            findings.invalid(path, "give user data or network data, e.g. userData");
        }
    }
}

/// The keys of one kind of data.
struct Keys {
    plain: &'static str,
    base64: &'static str,
    secret: &'static str,
}

const USER: Keys = Keys { plain: "userData", base64: "userDataBase64", secret: "secretRef" };
const NETWORK: Keys =
    Keys { plain: "networkData", base64: "networkDataBase64", secret: "networkDataSecretRef" };

/// User or network data, with its three ways to be given.
struct Data<'a> {
    plain: &'a str,
    base64: &'a str,
    decoded: Result<Vec<u8>, base64::Base64Error>,
    has_secret: bool,
    keys: &'static Keys,
}

fn data<'a>(
    plain: &'a str,
    base64: &'a str,
    secret: &Option<LocalObjectReference>,
    keys: &'static Keys,
) -> Data<'a> {
    let has_secret = secret.as_ref().is_some_and(|secret| !secret.name.is_empty());
    Data { plain, base64, decoded: base64::decode(base64), has_secret, keys }
}

impl Data<'_> {
    fn count(&self) -> usize {
        usize::from(!self.plain.is_empty())
            .saturating_add(usize::from(!self.base64.is_empty()))
            .saturating_add(usize::from(self.has_secret))
    }
}

fn base64_is_base64(data: &Data<'_>, path: &str, findings: &mut Findings<'_>) {
    if let Err(error) = data.decoded {
        let message = format!("is not base64: {error}; {} takes plain text", data.keys.plain);
        findings.invalid(format!("{path}.{}", data.keys.base64), message);
    }
}

fn data_is_given_once(data: &Data<'_>, path: &str, findings: &mut Findings<'_>) {
    if data.count() > 1 {
        let Keys { plain, base64, secret } = data.keys;
        findings.invalid(path, format!("{plain}, {base64} and {secret} exclude each other: keep one"));
    }
}

fn data_is_short(data: &Data<'_>, path: &str, findings: &mut Findings<'_>) {
    let decoded = data.decoded.as_ref().map_or(0, Vec::len);
    let length = if data.plain.is_empty() { decoded } else { data.plain.len() };
    if length > MOST_BYTES {
        let Keys { plain, secret, .. } = data.keys;
        let message = format!(
            "{plain} has {length} bytes, more than {MOST_BYTES}: put it into a Secret and give {secret}"
        );
        findings.invalid(path, message);
    }
}
