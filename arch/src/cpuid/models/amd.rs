//! Models of AMD's and Hygon's processors, from the oldest on.

use super::{Model, model};

#[rustfmt::skip]
pub(super) const MODELS: &[Model] = &[
    model("phenom-v1", (16, 2, 3), "AMD Phenom(tm) 9550 Quad-Core Processor", "qemu64-v1", "vme monitor popcnt mmxext fxsr-opt pdpe1gb rdtscp 3dnowext 3dnow abm sse4a npt", ""),
    model("Opteron_G1-v1", (15, 6, 1), "AMD Opteron 240 (Gen 1 Class Opteron)", "kvm64-v1", "", "cx16"),
    model("Opteron_G2-v1", (15, 6, 1), "AMD Opteron 22xx (Gen 2 Class Opteron)", "qemu64-v1", "vme", ""),
    model("Opteron_G3-v1", (16, 2, 3), "AMD Opteron 23xx (Gen 3 Class Opteron)", "Opteron_G2-v1", "monitor popcnt rdtscp abm sse4a misalignsse", ""),
    model("Opteron_G4-v1", (21, 1, 2), "AMD Opteron 62xx class CPU", "Opteron_G3-v1", "pclmulqdq ssse3 sse4-1 sse4-2 aes xsave avx pdpe1gb 3dnowprefetch xop fma4 npt nrip-save", "monitor"),
    model("Opteron_G5-v1", (21, 2, 0), "AMD Opteron 63xx class CPU", "Opteron_G4-v1", "fma f16c tbm", ""),
    model("EPYC-v1", (23, 1, 2), "AMD EPYC Processor", "Opteron_G5-v1", "monitor movbe rdrand arat fsgsbase bmi1 avx2 smep bmi2 rdseed adx smap clflushopt sha-ni xsaveopt xsavec xgetbv1 mmxext fxsr-opt cr8legacy osvw topoext", "xop fma4 tbm"),
    model("EPYC-v2", (23, 1, 2), "AMD EPYC Processor (with IBPB)", "EPYC-v1", "ibpb", ""),
    model("EPYC-v3", (23, 1, 2), "AMD EPYC Processor", "EPYC-v2", "xsaves perfctr-core clzero xsaveerptr", ""),
    model("EPYC-v4", (23, 1, 2), "AMD EPYC-v4 Processor", "EPYC-v3", "", ""),
    model("EPYC-Rome-v1", (23, 49, 0), "AMD EPYC-Rome Processor", "EPYC-v3", "clwb umip rdpid wbnoinvd amd-stibp", ""),
    model("EPYC-Rome-v2", (23, 49, 0), "AMD EPYC-Rome Processor", "EPYC-Rome-v1", "ibrs amd-ssbd", ""),
    model("EPYC-Rome-v3", (23, 49, 0), "AMD EPYC-Rome-v3 Processor", "EPYC-Rome-v2", "", ""),
    model("EPYC-Rome-v4", (23, 49, 0), "AMD EPYC-Rome-v4 Processor (no XSAVES)", "EPYC-Rome-v2", "", "xsaves"),
    model("EPYC-Milan-v1", (25, 1, 1), "AMD EPYC-Milan Processor", "EPYC-Rome-v2", "pcid erms invpcid pku fsrm svme-addr-chk", ""),
    model("EPYC-Milan-v2", (25, 1, 1), "AMD EPYC-Milan-v2 Processor", "EPYC-Milan-v1", "vaes vpclmulqdq stibp-always-on amd-psfd no-nested-data-bp lfence-always-serializing null-sel-clr-base", ""),
    model("EPYC-Genoa-v1", (25, 17, 0), "AMD EPYC-Genoa Processor", "EPYC-Milan-v2", "avx512f avx512dq avx512ifma avx512cd avx512bw avx512vl avx512vbmi avx512vbmi2 gfni avx512vnni avx512bitalg avx512-vpopcntdq la57 avx512-bf16 vnmi auto-ibrs", ""),
    model("Dhyana-v1", (24, 0, 1), "Hygon Dhyana Processor", "EPYC-v2", "", "pclmulqdq aes sha-ni"),
    model("Dhyana-v2", (24, 0, 1), "Hygon Dhyana Processor", "Dhyana-v1", "xsaves", ""),
];
