//! What the device offers, and the directory of its files.

use std::collections::BTreeMap;

/// Longest name of a file, without the NUL that ends it in the directory.
pub const FILE_NAME_MAX: usize = 55;
/// Greatest number of files.
pub const FILES_MAX: usize = 0x1000;

const SIGNATURE: u16 = 0x00;
const ID: u16 = 0x01;
const FILE_DIRECTORY: u16 = 0x19;
const FIRST_FILE: u16 = 0x20;
/// Key bits that ask for writing, which DMA asks for by itself, and for items of one architecture, which share the table.
const KEY: u16 = 0x3fff;
/// Traditional interface and DMA.
const FEATURES: u32 = 1 << 0 | 1 << 1;

/// Items with a fixed key, in little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Key {
    /// UUID of the machine, 16 bytes.
    Uuid = 0x02,
    /// Bytes of RAM, 8 bytes.
    RamSize = 0x03,
    /// CPUs at power-on, 2 bytes.
    CpuCount = 0x05,
    /// Firmware shows a boot menu, 2 bytes.
    BootMenu = 0x0e,
    /// APIC IDs are below this number, 2 bytes.
    MaxCpus = 0x0f,
}

/// One item.
#[derive(Clone, Debug)]
pub enum FwCfgItem {
    /// An item with a fixed key.
    Fixed(Key, Vec<u8>),
    /// A file of the directory: name of 1 to [`FILE_NAME_MAX`] bytes without NUL (such as `bootorder`, `etc/…`,
    /// `opt/…`), and its contents.
    File(String, Vec<u8>),
    /// A file that the guest may write to by DMA, within its length; its contents before that.
    Writable(String, Vec<u8>),
}

impl FwCfgItem {
    /// The number of CPUs at power-on.
    pub fn cpu_count(cpus: u16) -> Self {
        Self::Fixed(Key::CpuCount, cpus.to_le_bytes().to_vec())
    }

    /// The number that all APIC IDs are below.
    pub fn max_cpus(cpus: u16) -> Self {
        Self::Fixed(Key::MaxCpus, cpus.to_le_bytes().to_vec())
    }

    /// The order of boot devices, as OpenFirmware paths with the first one first.
    pub fn boot_order(paths: &[String]) -> Self {
        let mut text = paths.join("\n").into_bytes();
        text.push(0);
        Self::File("bootorder".to_owned(), text)
    }
}

/// Why items cannot be offered.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ItemError {
    /// A name is empty, too long or has a NUL.
    #[error("fw_cfg file name {0:?} must have 1 to 55 bytes, none of them zero")]
    Name(String),
    /// Two files have one name.
    #[error("fw_cfg file {0:?} is given twice")]
    SameName(String),
    /// Two items have one key.
    #[error("fw_cfg item {0:?} is given twice")]
    SameKey(Key),
    /// The directory is full.
    #[error("there are {0} fw_cfg files, more than 4096")]
    TooManyFiles(usize),
    /// The contents do not fit the directory's size field.
    #[error("fw_cfg file {0:?} is larger than 4 GiB")]
    TooLarge(String),
}

/// All items by key.
#[derive(Debug)]
pub(super) struct Items {
    all: BTreeMap<u16, Vec<u8>>,
    /// Names of files that the guest may write to.
    writable: BTreeMap<u16, String>,
}

impl Items {
    /// Gives every item its key. Files get theirs in the order of their names, so that the same items always have the
    /// same keys.
    pub(super) fn new(items: Vec<FwCfgItem>) -> Result<Self, ItemError> {
        let mut table =
            BTreeMap::from([(SIGNATURE, b"QEMU".to_vec()), (ID, FEATURES.to_le_bytes().to_vec())]);
        let (mut files, mut writable) = (BTreeMap::new(), Vec::new());
        for item in items {
            match item {
                FwCfgItem::Fixed(key, data) => {
                    if table.insert(key as u16, data).is_some() {
                        return Err(ItemError::SameKey(key));
                    }
                }
                FwCfgItem::File(name, data) => add_file(&mut files, name, data)?,
                FwCfgItem::Writable(name, data) => {
                    writable.push(name.clone());
                    add_file(&mut files, name, data)?;
                }
            }
        }
        if files.len() > FILES_MAX {
            return Err(ItemError::TooManyFiles(files.len()));
        }
        table.insert(FILE_DIRECTORY, directory(&files)?);
        let keys = (FIRST_FILE..).zip(files.keys()).filter(|(_, name)| writable.contains(name));
        let writable = keys.map(|(key, name)| (key, name.clone())).collect();
        table.extend((FIRST_FILE..).zip(files.into_values()));
        Ok(Self { all: table, writable })
    }

    /// Name of the file at `key` if the guest may write to it.
    pub(super) fn writable(&self, key: u16) -> Option<&str> {
        self.writable.get(&(key & KEY)).map(String::as_str)
    }

    /// Length of the file of this name, if the guest may write to it.
    pub(super) fn length_of(&self, name: &str) -> Option<usize> {
        let (key, _) = self.writable.iter().find(|(_, file)| *file == name)?;
        Some(self.get(*key).len())
    }

    /// The contents of the item at `key`; empty if there is none.
    pub(super) fn get(&self, key: u16) -> &[u8] {
        self.all.get(&(key & KEY)).map_or(&[], Vec::as_slice)
    }
}

fn add_file(files: &mut BTreeMap<String, Vec<u8>>, name: String, data: Vec<u8>) -> Result<(), ItemError> {
    if name.is_empty() || name.len() > FILE_NAME_MAX || name.contains('\0') {
        return Err(ItemError::Name(name));
    }
    if files.contains_key(&name) {
        return Err(ItemError::SameName(name));
    }
    files.insert(name, data);
    Ok(())
}

/// The directory: a count, then per file its size, key, two reserved bytes and padded name; big-endian.
fn directory(files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>, ItemError> {
    let count = u32::try_from(files.len()).map_err(|_| ItemError::TooManyFiles(files.len()))?;
    let mut bytes = count.to_be_bytes().to_vec();
    for ((name, data), key) in files.iter().zip(FIRST_FILE..) {
        let size = u32::try_from(data.len()).map_err(|_| ItemError::TooLarge(name.clone()))?;
        bytes.extend(size.to_be_bytes());
        bytes.extend(key.to_be_bytes());
        bytes.extend([0; 2]);
        bytes.extend(name.bytes().chain(std::iter::repeat(0)).take(FILE_NAME_MAX + 1));
    }
    Ok(bytes)
}
