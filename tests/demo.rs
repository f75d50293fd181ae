//! `sluis demo --once`, as a newcomer runs it: it keeps its promises, it can be read without colours, and it can fail.
#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::PathBuf;
use std::process::{Command, Output};

fn demo(policy: &str) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sluis")).args(["demo", "--once", "--policy", policy]).output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let report = PathBuf::from(text.lines().find(|line| line.ends_with("/report.html")).unwrap().trim());
    let page = std::fs::read_to_string(&report).unwrap();
    assert!(page.contains("2026-Q3") && page.to_lowercase().contains("not for publication"), "the report stays, and says what it is");
    std::fs::remove_dir_all(report.parent().unwrap()).unwrap();
    (output, text)
}

#[test]
fn keeps_every_promise() {
    for policy in ["strict", "smart-charging"] {
        let (output, text) = demo(policy);
        assert!(output.status.success(), "{policy}:\n{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "{policy}: it says only what it has to say");
        assert!(!text.contains('\x1b'), "plain where there is no terminal");
        assert!(!text.contains("BROKEN") && !text.contains("LEAKED"), "{policy}:\n{text}");
        for said in [
            "24 of 24 sessions ended",
            "24 of 24 sessions billed once: CDRs accepted 15 by Dijk Mobility, 8 by Elbe Laden; 1 held",
            "23 of 23 CDRs resolved by their e-MSP",
            "2 answers of an e-MSP were lost: 2 CDRs came again, and none was billed twice",
            "an e-MSP can read 0 of the other's CDRs, and the two have 0 identifiers in common",
            "3 of 3 remote starts",
            "88 of 88 identifiers",
            "UnknownVendorId",
            "customer 1001   10.696 kWh  EUR   4.66 incl. VAT  Kadeplein 3, Utrecht, 2026-11-24 09:00–09:35",
            "customer 7001    9.735 kWh  EUR   3.50 excl. VAT",
            "unknown_owner",
            "the release can be checked offline: 0 failures",
            "none of the fleet's 17166 cards and contracts in its files (0 found; 54816 in the file of sessions)",
            "the figures are those of a world in which the 60 who objected never charged",
        ] {
            assert!(text.contains(said), "{policy}: {said}\n{text}");
        }
        // Load management is the one purpose in which the two policies differ.
        assert_eq!(text.contains("stays behind: needed for smart-charging only"), policy == "strict");
    }
}

/// A check that cannot fail proves nothing. A policy that only observes lets everything through.
#[test]
fn finds_the_leaks_of_a_gateway_that_only_observes() {
    let (output, text) = demo("observe");
    assert_eq!(output.status.code(), Some(1), "{text}");
    for leak in
        ["card number as text", "contract number in base64", "SIM card number as text", "serial number as text", "meter number in base64"]
    {
        assert!(text.contains(&format!("LEAKED: {leak} in what the central system received")), "{leak}\n{text}");
    }
    // The central system sees everything then; what goes to e-MSPs and what is kept are codes all the same.
    for clean in
        ["in the gateway's log", "in the gateway's files", "in /metrics", "in what Dijk Mobility received", "in what Elbe Laden received"]
    {
        assert!(!text.contains(clean), "{clean}\n{text}");
    }
    assert!(text.contains("kept    23 of 23 CDRs resolved"), "{text}");
}
