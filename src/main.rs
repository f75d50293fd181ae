//! Sluis, the program. Exit codes: 0 fine, 1 failed, 2 wrong arguments, 78 wrong configuration.

use std::process::ExitCode;

/// The C library's own grows a thread's heap by a page at a time, with a system call each: a twelfth of what a new connection costs
/// (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sluis::cli::main()
}
