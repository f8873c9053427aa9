//! KubeVirt API objects: parsing with positions, admission (defaults and rules), resolution
