//! Models that stand for any maker's processors.

use super::{Model, model};

#[rustfmt::skip]
pub(super) const MODELS: &[Model] = &[
    model("qemu64-v1", (15, 107, 1), "QEMU Virtual CPU version 2.5+", "", "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni cx16 syscall nx lm lahf-lm svm", ""),
    model("kvm64-v1", (15, 6, 1), "Common KVM processor", "qemu64-v1", "vme", "lahf-lm svm"),
];
