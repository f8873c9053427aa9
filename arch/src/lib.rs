//! Facts of the x86_64 machine: layout, CPUID, MSRs, boot protocols, ACPI tables, SMBIOS
