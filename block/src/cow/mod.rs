//! Copy-on-write disks: a base that is never written, under a scratch file that is.
