//! Stations' passwords: hashed here, so that the register never holds a clear one.

use super::{FAILED, error, print};
use crate::gateway::credentials::{LONGEST, PasswordHash, ROUNDS, SHORTEST};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Subcommand;
use ring::rand::{SecureRandom, SystemRandom};
use std::io::Read;
use std::process::ExitCode;
use zeroize::Zeroizing;

/// Random bytes of a password that is drawn: 32 characters, within the 40 of OCPP 1.6 and 2.0.1.
const DRAWN: usize = 24;

/// What can be done with stations' passwords.
#[derive(Subcommand)]
pub(super) enum Stations {
    /// Read a password on standard input and print its hash, for stations.passwords_file.
    Hash {
        /// Draw a password instead, and print it on a line before its hash.
        #[arg(long)]
        draw: bool,
        /// Rounds of PBKDF2.
        #[arg(long, default_value_t = ROUNDS)]
        rounds: u32,
    },
}

pub(super) fn run(Stations::Hash { draw, rounds }: &Stations) -> Result<(), ExitCode> {
    let failed = |why: &str| {
        error(why);
        ExitCode::from(FAILED)
    };
    let mut password = Zeroizing::new(Vec::new());
    if *draw {
        let mut bytes = Zeroizing::new([0; DRAWN]);
        SystemRandom::new().fill(&mut *bytes).map_err(|_| failed("the operating system gives no random bytes"))?;
        let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes));
        print(&format!("{}\n", *text));
        password.extend_from_slice(text.as_bytes());
    } else {
        let input = std::io::stdin().lock().take(LONGEST as u64 + 3).read_to_end(&mut password);
        input.map_err(|_| failed("standard input cannot be read"))?;
        // One line end, as `echo` and editors add it; whatever else there is belongs to the password.
        for end in [b'\n', b'\r'] {
            if password.last() == Some(&end) {
                password.pop();
            }
        }
    }
    if !(SHORTEST..=LONGEST).contains(&password.len()) {
        return Err(failed(&format!("a password has {SHORTEST} to {LONGEST} bytes (OCPP: 16 to 40 characters)")));
    }
    print(&format!("{}\n", PasswordHash::make(&password, *rounds).map_err(failed)?));
    Ok(())
}
