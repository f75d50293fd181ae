//! A script: all that one round of the attack does, as data. It is made from a seed, played against a gateway, cut short when something is
//! found, written to a file and played again from there. One step is one line of JSON.

use super::canary::Canary;
use serde::{Deserialize, Serialize};
use std::io::Write;

/// The two ends that the attack plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    /// The charging station, towards `--target`.
    Station,
    /// The central system, at `--upstream-listen`.
    Csms,
}

impl End {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Station => Self::Csms,
            Self::Csms => Self::Station,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Station => "the station",
            Self::Csms => "the central system",
        }
    }
}

/// A CALL and what becomes of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) from: End,
    pub(super) id: String,
    pub(super) action: String,
    /// The frame. `${code:N}` stands for the code under which the central system has seen canary N.
    pub(super) frame: String,
    /// What the other end says when it arrives, frame by frame; `${id}` stands for the id as it arrived.
    pub(super) answers: Vec<String>,
    /// Frame and first answer are what the standard says, so what arrives and what comes back must be too.
    #[serde(default)]
    pub(super) valid: bool,
    /// No policy can do without it: it must arrive.
    #[serde(default)]
    pub(super) must_arrive: bool,
}

/// One thing that the attack does.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum Step {
    /// Sends CALLs at once and waits until each has its one answer.
    Calls { calls: Vec<Call> },
    /// Sends a message that need not be answered.
    Say {
        from: End,
        text: String,
        #[serde(default)]
        binary: bool,
    },
    /// Sends bytes below the WebSocket. `must_close`: RFC 6455 says that the connection fails.
    Bytes { from: End, hex: String, must_close: bool },
    /// The station reads as a card everything that it was sent.
    Parrot,
    /// The station reads these canaries, guesses of the central system: their codes must be new to it.
    Reveal { canaries: Vec<usize> },
    /// Two CALLs of the central system that must be answered in the same words.
    Alike { from: End, action: String, frames: [String; 2] },
    /// A connection of its own: sends bytes, in so many pieces, and reads until it is closed or answered.
    Knock { hex: String, pieces: usize, marker: String },
    /// So many connections that each send the beginning of a handshake and wait, while a normal station comes and goes.
    Crowd { connections: usize, hex: String },
    /// So many Heartbeats as fast as the socket takes them, filled up to so many bytes.
    Flood { from: End, frames: usize, bytes: usize },
    /// An end reads nothing for a while, and the other sends so many frames of so many bytes.
    Stall { reader: End, frames: usize, bytes: usize },
    /// A second connection under the same id: one that the central system refuses must not displace the first.
    Rival { refused: bool },
    /// An end closes, with a reason.
    Close { from: End, code: u16, reason: String },
    /// A new connection if there is none.
    Open,
    /// A new station comes, has a whole session and goes.
    Health,
}

/// A script and where it comes from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Script {
    pub(super) seed: u64,
    pub(super) round: u64,
    /// The OCPP version: `1.6`, `2.0.1` or `2.1`.
    pub(super) version: String,
    /// What kind of script it is.
    pub(super) name: String,
    pub(super) canaries: Vec<Canary>,
    /// Header lines of the station's handshake beyond the usual ones.
    pub(super) headers: Vec<(String, String)>,
    #[serde(skip)]
    pub(super) steps: Vec<Step>,
}

/// What a gateway did that it must not do. The words are those of the reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A canary of the station's came out at the central system.
    Leak,
    /// A CALL has no answer.
    Unanswered,
    /// A normal station got no answer in time where it should have.
    Hang,
    /// A connection or the gateway ended where it should not have.
    Crash,
    /// A guess of the central system's reached the station, or was answered in a way that tells something.
    Oracle,
    /// An answer that is not what the standard says, or one too many.
    WrongAnswer,
    /// The station was sent a code where its own identifier should be.
    Unrestored,
    /// A message arrived changed where nothing had to be changed, more than once, or where it must arrive not at all.
    Altered,
}

impl Class {
    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::Unanswered => "unanswered",
            Self::Hang => "hang",
            Self::Crash => "crash",
            Self::Oracle => "oracle",
            Self::WrongAnswer => "wrong_answer",
            Self::Unrestored => "unrestored",
            Self::Altered => "altered",
        }
    }
}

/// A finding.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finding {
    /// What kind it is.
    pub class: Class,
    /// In words, for a person. Canaries are made up, so they may be quoted.
    pub what: String,
    /// What tells it from others: findings with the same key are reported once.
    pub key: String,
    /// The step of the script that it was found in.
    pub step: usize,
}

/// A line of what went over the wire, for the reader of a reproduction file.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Wire {
    pub(super) ms: u64,
    /// Who sent it or who got it, from the attack's point of view.
    pub(super) wire: &'static str,
    pub(super) text: String,
}

#[derive(Serialize, Deserialize)]
struct Head {
    sluis_attack: u32,
    finding: Finding,
    deadline_ms: u64,
    script: Script,
}

/// Writes a reproduction file: the finding and the script, its steps, and what went over the wire.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(out: &mut impl Write, script: &Script, finding: &Finding, deadline_ms: u64, wire: &[Wire]) -> std::io::Result<()> {
    let head = Head { sluis_attack: 1, finding: finding.clone(), deadline_ms, script: script.clone() };
    writeln!(out, "{}", serde_json::to_string(&head)?)?;
    for step in &script.steps {
        writeln!(out, "{}", serde_json::to_string(step)?)?;
    }
    for line in wire {
        writeln!(out, "{}", serde_json::to_string(line)?)?;
    }
    Ok(())
}

/// Reads a reproduction file: the script, the finding, and the deadline it was found with, in milliseconds.
///
/// # Errors
/// Which line is not what it should be.
pub(super) fn read(text: &str) -> Result<(Script, Finding, u64), String> {
    let mut lines = text.lines().enumerate();
    let (_, first) = lines.next().ok_or("the file is empty")?;
    let head: Head = serde_json::from_str(first).map_err(|_| "line 1 is not the head of a reproduction file")?;
    if head.sluis_attack != 1 {
        return Err("the file is of another edition".into());
    }
    let mut script = head.script;
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty() && !line.contains("\"wire\":")) {
        let step = serde_json::from_str(line).map_err(|_| format!("line {} is no step", number + 1))?;
        script.steps.push(step);
    }
    Ok((script, head.finding, head.deadline_ms))
}
