//! The initrd: as high in low RAM as the kernel can find it, so that it is out of the kernel's way.

use std::fs::File;

use super::file::{length, load_at};
use super::{BootError, LoadedKernel};
use crate::GuestRam;
use crate::layout::PAGE_SIZE;

/// Where the initrd lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitrdSpan {
    /// Guest physical address, a page boundary below 4 GiB.
    pub addr: u32,
    /// Length in bytes.
    pub size: u32,
}

/// Loads the initrd in `file` below the limit of `kernel` and above the kernel itself.
///
/// # Errors
/// The file cannot be read, is empty, or does not fit.
pub fn load_initrd(mem: &GuestRam, file: &File, kernel: &LoadedKernel) -> Result<InitrdSpan, BootError> {
    const WHAT: &str = "the initrd";
    let size = length(file, WHAT)?;
    if size == 0 {
        return Err(BootError::EmptyInitrd);
    }
    let (limit, kernel_end) = (kernel.initrd_limit, kernel.highest);
    let addr =
        limit.checked_sub(size).map(|addr| addr / PAGE_SIZE * PAGE_SIZE).filter(|addr| *addr >= kernel_end);
    let span = addr.and_then(|addr| Some((addr, u32::try_from(addr).ok()?, u32::try_from(size).ok()?)));
    let Some((start, addr, bytes)) = span else {
        return Err(BootError::InitrdTooLarge { size, kernel_end, limit });
    };
    load_at(mem, start, file, 0, size, WHAT)?;
    Ok(InitrdSpan { addr, size: bytes })
}
