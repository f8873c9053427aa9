//! How a driver reaches a virtio device.
