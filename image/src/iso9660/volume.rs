//! Where everything lies, and the descriptors at the front (ECMA-119 §8).

use super::bytes::{NO_DATE, Record, VOLUME_DATE, both16, both32};
use super::names::{Flavor, Named, View};
use super::tree::{Child, Tree};
use super::{Continuation, IsoError, SECTOR, rock_ridge, sectors};

/// The first sixteen sectors are the system's; then come three descriptors.
const FIRST_FREE: u32 = 19;

/// A stretch of the image.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    pub(super) sector: u32,
    /// In bytes.
    pub(super) len: u32,
}

/// Everything but descriptors and files, in bytes.
pub(super) struct Parts {
    /// Primary and Joliet.
    pub(super) sides: Vec<Side>,
    pub(super) area: Continuation,
}

pub(super) struct Side {
    little: Vec<u8>,
    big: Vec<u8>,
    /// By directory.
    dirs: Vec<Vec<u8>>,
}

/// Where everything lies.
#[derive(Default)]
pub(super) struct Layout {
    sides: Vec<SidePlaces>,
    area: u32,
    files: Vec<Extent>,
    end: u32,
}

struct SidePlaces {
    little: Extent,
    big: Extent,
    dirs: Vec<Extent>,
}

/// Hands out sectors one after the other.
struct Cursor(u32);

impl Cursor {
    fn take(&mut self, len: usize) -> Result<Extent, IsoError> {
        let extent = Extent { sector: self.0, len: u32::try_from(len).map_err(|_| IsoError::TooLarge)? };
        self.0 = self.0.checked_add(sectors(len)?).ok_or(IsoError::TooLarge)?;
        Ok(extent)
    }
}

impl Layout {
    pub(super) fn place(tree: &Tree<'_>, parts: &Parts) -> Result<Layout, IsoError> {
        let mut free = Cursor(FIRST_FREE);
        let mut sides = Vec::new();
        for side in &parts.sides {
            let (little, big) = (free.take(side.little.len())?, free.take(side.big.len())?);
            let dirs = side.dirs.iter().map(|dir| {
                // A directory's length counts whole sectors (§6.8.1.1).
                free.take(dir.len().next_multiple_of(SECTOR))
            });
            sides.push(SidePlaces { little, big, dirs: dirs.collect::<Result<_, _>>()? });
        }
        let area = free.take(parts.area.bytes.len())?.sector;
        let files = tree.files.iter().map(|file| match file {
            [] => Ok(Extent::default()),
            file => free.take(file.len()),
        });
        let files = files.collect::<Result<_, _>>()?;
        Ok(Layout { sides, area, files, end: free.0 })
    }

    fn dir(&self, side: usize, dir: usize) -> Extent {
        self.sides.get(side).and_then(|side| side.dirs.get(dir)).copied().unwrap_or_default()
    }

    fn child(&self, side: usize, child: Child) -> Extent {
        match child {
            Child::Dir(dir) => self.dir(side, dir),
            Child::File(file) => self.files.get(file).copied().unwrap_or_default(),
        }
    }
}

/// Path tables and directories, with the places that `layout` gives them.
pub(super) fn parts(tree: &Tree<'_>, views: &[View<'_>], layout: &Layout) -> Result<Parts, IsoError> {
    let mut area = Continuation::default();
    let mut sides = Vec::new();
    for (side, view) in views.iter().enumerate() {
        let [little, big] =
            [u32::to_le_bytes, u32::to_be_bytes].map(|order| path_table(tree, view, side, layout, order));
        let dirs = (0..tree.dirs.len()).map(|dir| directory(tree, view, side, dir, layout, &mut area));
        sides.push(Side { little: little?, big: big?, dirs: dirs.collect::<Result<_, _>>()? });
    }
    Ok(Parts { sides, area })
}

/// §9.4; the two kinds differ in byte order.
fn path_table(
    tree: &Tree<'_>,
    view: &View<'_>,
    side: usize,
    layout: &Layout,
    order: fn(u32) -> [u8; 4],
) -> Result<Vec<u8>, IsoError> {
    let mut numbers = vec![0u32; tree.dirs.len()];
    let mut table = Vec::new();
    for (number, (dir, ident)) in (1u32..).zip(&view.order) {
        if let Some(own) = numbers.get_mut(*dir) {
            *own = number;
        }
        let parent = tree.dirs.get(*dir).and_then(|dir| numbers.get(dir.parent)).copied().unwrap_or(1);
        table.push(u8::try_from(ident.len()).map_err(|_| IsoError::TooLarge)?);
        table.push(0);
        table.extend(order(layout.dir(side, *dir).sector));
        // Shifted so that the two bytes of the number come first in either order.
        let [a, b, c, d] = order(parent);
        table.extend(if order(1) == [1, 0, 0, 0] { [a, b] } else { [c, d] });
        table.extend(ident);
        table.resize(table.len().next_multiple_of(2), 0);
    }
    Ok(table)
}

/// A directory's records.
fn directory(
    tree: &Tree<'_>,
    view: &View<'_>,
    side: usize,
    dir: usize,
    layout: &Layout,
    area: &mut Continuation,
) -> Result<Vec<u8>, IsoError> {
    let rock = view.flavor == Flavor::Primary;
    let parent = tree.dirs.get(dir).map_or(0, |dir| dir.parent);
    let mut out = Vec::new();
    let own = match (rock, dir) {
        (false, _) => Vec::new(),
        (true, 0) => rock_ridge::root(links(view, 0), area, layout.area)?,
        (true, _) => rock_ridge::dot(links(view, dir)),
    };
    let up = if rock { rock_ridge::dot(links(view, parent)) } else { Vec::new() };
    for (name, at, system_use) in [(&[0u8], dir, own), (&[1], parent, up)] {
        let extent = layout.dir(side, at);
        Record { name, extent, is_dir: true, system_use: &system_use }.append(&mut out)?;
    }
    for Named { ident, name, child } in view.children.get(dir).into_iter().flatten() {
        let below = match *child {
            Child::Dir(below) => Some(links(view, below)),
            Child::File(_) => None,
        };
        let system_use =
            if rock { rock_ridge::entry(ident, name, below, area, layout.area)? } else { Vec::new() };
        let extent = layout.child(side, *child);
        Record { name: ident, extent, is_dir: below.is_some(), system_use: &system_use }.append(&mut out)?;
    }
    Ok(out)
}

/// A directory's links: two, and one for each directory in it.
fn links(view: &View<'_>, dir: usize) -> u32 {
    let children = view.children.get(dir).into_iter().flatten();
    let dirs = children.filter(|named| matches!(named.child, Child::Dir(_))).count();
    2u32.saturating_add(u32::try_from(dirs).unwrap_or(u32::MAX - 2))
}

/// The whole image.
pub(super) fn assemble(
    label: &str,
    tree: &Tree<'_>,
    parts: &Parts,
    layout: &Layout,
) -> Result<Vec<u8>, IsoError> {
    let end = usize::try_from(layout.end).map_err(|_| IsoError::TooLarge)?;
    let mut image = Vec::with_capacity(end.saturating_mul(SECTOR));
    image.resize(16 * SECTOR, 0);
    for (side, places) in layout.sides.iter().enumerate() {
        descriptor(label, side, places, layout, &mut image)?;
    }
    image.extend(b"\xffCD001\x01");
    let mut append = |bytes: &[u8]| {
        image.resize(image.len().next_multiple_of(SECTOR), 0);
        image.extend(bytes);
    };
    for side in &parts.sides {
        append(&side.little);
        append(&side.big);
        side.dirs.iter().for_each(|dir| append(dir));
    }
    append(&parts.area.bytes);
    tree.files.iter().for_each(|file| append(file));
    image.resize(image.len().next_multiple_of(SECTOR), 0);
    Ok(image)
}

/// A volume descriptor: the primary one (§8.4) or Joliet's (§8.5).
fn descriptor(
    label: &str,
    side: usize,
    places: &SidePlaces,
    layout: &Layout,
    to: &mut Vec<u8>,
) -> Result<(), IsoError> {
    let joliet = side == 1;
    let text = |text: &str, len: usize| -> Vec<u8> {
        let mut bytes: Vec<u8> = if joliet {
            text.encode_utf16().take(len / 2).flat_map(u16::to_be_bytes).collect()
        } else {
            text.bytes().collect()
        };
        let blank: &[u8] = if joliet { b"\0 " } else { b" " };
        let missing = len.saturating_sub(bytes.len());
        bytes.extend(blank.iter().cycle().take(missing));
        bytes
    };
    let start = to.len();
    to.extend([if joliet { 2 } else { 1 }]);
    to.extend(b"CD001\x01\0");
    to.extend(text("", 32));
    to.extend(text(label, 32));
    to.extend([0; 8]);
    to.extend(both32(layout.end));
    // UCS-2 level 3.
    let mut escapes = [0; 32];
    if let ([a, b, c, ..], true) = (&mut escapes, joliet) {
        [*a, *b, *c] = *b"%/E";
    }
    to.extend(escapes);
    to.extend(both16(1));
    to.extend(both16(1));
    to.extend(both16(u16::try_from(SECTOR).unwrap_or(2048)));
    to.extend(both32(places.little.len));
    to.extend(places.little.sector.to_le_bytes());
    to.extend([0; 4]);
    to.extend(places.big.sector.to_be_bytes());
    to.extend([0; 4]);
    let root = places.dirs.first().copied().unwrap_or_default();
    let mut record = Vec::new();
    Record { name: &[0], extent: root, is_dir: true, system_use: &[] }.append(&mut record)?;
    to.extend(record);
    // Volume set, publisher, preparer, application; then three file names.
    for len in [128, 128, 128, 128, 37, 37, 37] {
        to.extend(text("", len));
    }
    to.extend(VOLUME_DATE);
    to.extend(VOLUME_DATE);
    to.extend(NO_DATE);
    to.extend(NO_DATE);
    to.extend([1, 0]);
    to.resize(start + SECTOR, 0);
    Ok(())
}
