//! Network backends: tap devices and their offloads, free of virtio
