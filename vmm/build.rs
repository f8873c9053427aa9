//! What the program that ships is linked with. The linker is LLVM's, which Rust brings along for this target.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=discard.ld");
    let is = |name: &str, wanted: &str| std::env::var(name).is_ok_and(|value| value == wanted);
    // Tests catch panics, and debuggers look at frames.
    if is("PROFILE", "release") && is("TARGET", "x86_64-unknown-linux-gnu") {
        let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        let discard = format!("-Wl,-T,{folder}/discard.ld");
        // Functions with the same code become one; relocations are in their short form. The profile's `strip` leaves names of
        // functions in a program that is linked statically.
        let flags = [
            "-Wl,--icf=all",
            "-Wl,-z,pack-relative-relocs",
            &discard,
            "-Wl,--no-eh-frame-hdr",
            "-Wl,--strip-all",
        ];
        for flag in flags {
            println!("cargo::rustc-link-arg-bin=kubevmm={flag}");
        }
    }
}
