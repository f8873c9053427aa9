use super::*;

#[test]
fn a_host_without_the_device_says_so() {
    match VhostNet::open() {
        // VIRTIO_F_VERSION_1.
        Ok(vhost) => assert_ne!(vhost.features().unwrap() & 1 << 32, 0),
        Err(error) => assert!(
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied),
            "{error}"
        ),
    }
}
