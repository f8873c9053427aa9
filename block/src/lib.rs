//! Disks: formats and I/O engines, free of virtio
