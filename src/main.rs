//! Sluis, the program. Exit codes: 0 fine, 1 failed, 2 wrong arguments, 78 wrong configuration.

use std::process::ExitCode;

fn main() -> ExitCode {
    sluis::cli::main()
}
