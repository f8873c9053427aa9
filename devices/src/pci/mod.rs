//! PCI: configuration space, base address registers, MSI-X, and the two ways to reach them.

pub mod msix;
