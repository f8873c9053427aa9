//! What a machine boots.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use spec::api::Firmware;

use super::{Options, PlanError};

/// Command line of a kernel whose manifest gives none: the serial console, so that something is seen.
const DEFAULT_CMDLINE: &str = "console=ttyS0";

/// Where a file comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FileSource {
    /// A file of the host.
    Path(PathBuf),
    /// A file inside a container image.
    #[serde(rename_all = "camelCase")]
    Image {
        /// Reference, as in the manifest.
        image: String,
        /// Path inside.
        path: String,
    },
}

/// Kernel, initrd and command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KernelPlan {
    /// The kernel.
    pub kernel: FileSource,
    /// The initrd, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd: Option<FileSource>,
    /// Kernel command line.
    pub cmdline: String,
}

/// Plans what `firmware` asks to boot; options of the command line come first.
pub(super) fn plan(firmware: Option<&Firmware>, options: &Options) -> Result<KernelPlan, PlanError> {
    let boot = firmware.and_then(|firmware| firmware.kernel_boot.as_ref());
    let container = boot.and_then(|boot| boot.container.as_ref());
    let inside = |path: Option<&String>| {
        let (container, path) = container.zip(path.filter(|path| !path.is_empty()))?;
        Some(FileSource::Image { image: container.image.clone(), path: path.clone() })
    };
    let given = |path: &Option<PathBuf>| path.clone().map(FileSource::Path);
    let kernel = given(&options.kernel).or_else(|| inside(container.map(|container| &container.kernel_path)));
    let kernel = kernel.ok_or_else(|| {
        PlanError::at(
            "spec.domain.firmware.kernelBoot",
            "there is no firmware to boot from a disk with: name a kernel here, or give one with --kernel FILE",
        )
    })?;
    let initrd = given(&options.initrd).or_else(|| inside(container.map(|container| &container.initrd_path)));
    let args = boot.map(|boot| boot.kernel_args.as_str()).filter(|args| !args.is_empty());
    let cmdline = options.append.as_deref().or(args).unwrap_or(DEFAULT_CMDLINE).to_owned();
    Ok(KernelPlan { kernel, initrd, cmdline })
}
