//! A program that is compiled and run: the compiler makes the same of the same source each time, and what the program computes is known.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::Ordering;

use super::Work;

/// Functions of the program.
const FUNCTIONS: u64 = 150;
/// A number of Knuth's, and the times that a function multiplies by it.
const FACTOR: u64 = 6_364_136_223_846_793_005;
const TURNS: u64 = 5;

/// The system call that writes and the one that ends are all that it needs of the kernel; there is no library.
const HEAD: &str = "static unsigned long ask(unsigned long n, unsigned long a, unsigned long b, unsigned long c)
{
  unsigned long r;
  __asm__ volatile (\"syscall\" : \"=a\"(r) : \"a\"(n), \"D\"(a), \"S\"(b), \"d\"(c) : \"rcx\", \"r11\", \"memory\");
  return r;
}
";
const TAIL: &str = "  for (i = 15; i >= 0; i--) { text[i] = \"0123456789abcdef\"[x & 15]; x >>= 4; }
  ask(1, 1, (unsigned long)text, 16);
  ask(60, 0, 0, 0);
}
";

/// Writes the source, compiles it by the compiler in `tools`, runs what comes out, over and over.
pub(super) fn build(work: &Work, tools: &Path, folder: &Path) -> io::Result<()> {
    let (source, program) = (folder.join("program.c"), folder.join("program"));
    let mut first = None;
    while work.goes_on() {
        fs::write(&source, text())?;
        let mut compiler = Command::new(tools.join("ld-linux-x86-64.so.2"));
        compiler.arg("--library-path").arg(tools).arg(tools.join("tcc"));
        compiler.args(["-nostdinc", "-nostdlib", "-static", "-o"]).args([&program, &source]);
        said(&mut compiler)?;
        let made = fs::read(&program)?;
        if *first.get_or_insert_with(|| made.clone()) != made {
            return Err(io::Error::other("the compiler has made another program of the same source"));
        }
        let (answer, wanted) = (said(&mut Command::new(&program))?, format!("{:016x}", answer()));
        if answer != wanted {
            return Err(io::Error::other(format!("the program says {answer:?} instead of {wanted}")));
        }
        work.builds.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

fn said(command: &mut Command) -> io::Result<String> {
    let Output { status, stdout, stderr } = command.output()?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    Err(io::Error::other(format!("{command:?} ended with {status}: {}", String::from_utf8_lossy(&stderr))))
}

fn text() -> String {
    let mut text = String::from(HEAD);
    let (mut calls, names) = (String::new(), 0..FUNCTIONS);
    for number in names {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "unsigned long f{number}(unsigned long x)\n{{\n  unsigned long i;\n  for (i = 0; i < {TURNS}; i++) \
             x = x * {FACTOR}ul + (x >> 17) + {number};\n  return x;\n}}"
        );
        let _ = writeln!(calls, "  x = f{number}(x);");
    }
    text + "void _start(void)\n{\n  unsigned long x = 1;\n  char text[16];\n  int i;\n" + &calls + TAIL
}

/// What the program says in the end.
fn answer() -> u64 {
    let turn = |x: u64, number: u64| x.wrapping_mul(FACTOR).wrapping_add(x >> 17).wrapping_add(number);
    (0..FUNCTIONS).fold(1, |x, number| (0..TURNS).fold(x, |x, _| turn(x, number)))
}
