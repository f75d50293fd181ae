//! kill -9 at many instants of the close, of the real program: no release or exactly one, the ledger whole, the budget right, and the secret there
//! exactly as long as there is no release. `SLUIS_KILLS` sets how often (40 unless told).

use crate::world::*;
use sluis::custody::Role;
use sluis::publication::close::{ledger, released};
use sluis::publication::files::{MANIFEST, RECEIPT};
use sluis::publication::verify::verify;
use sluis::stats::{Rho, Table};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    for (name, bytes) in files(from) {
        fs::write(to.join(&name), bytes).unwrap();
    }
    std::os::unix::fs::PermissionsExt::set_mode(&mut fs::metadata(to.join("kek")).unwrap().permissions(), 0o600);
    fs::set_permissions(to.join("kek"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test that kills at chosen instants")]
fn whatever_instant_it_is_killed_at_there_is_no_release_or_exactly_one() {
    let kills: u32 = std::env::var("SLUIS_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    let world = World::new();
    world.lives(400);
    let data = world.data();
    let World { dir, publication, custody, .. } = world;
    drop((publication, custody));
    let (before, there, out) = (dir.path().join("before"), dir.path().join("there"), dir.path().join("out"));
    copy(&data, &before);
    let config = dir.path().join("sluis.toml");
    let sites = dir.path().join("sites.csv");
    fs::write(
        &config,
        format!("data_dir = {there:?}\n[cpo]\nparty = \"NL-CPO\"\n[billing]\nsites = {sites:?}\n[statistics]\nenabled = true\nneighbourhood_points = 10\n"),
    )
    .unwrap();
    let start = || {
        Command::new(env!("CARGO_BIN_EXE_sluis"))
            .args(["stats", "release", "--period", QUARTER, "--out", out.to_str().unwrap(), "--config", config.to_str().unwrap()])
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    copy(&before, &there);
    let began = Instant::now();
    assert!(start().wait().unwrap().success());
    let whole = began.elapsed();
    let (mut none, mut half, mut done) = (0, 0, 0);
    for kill in 0..kills {
        copy(&before, &there);
        let _ = fs::remove_dir_all(&out);
        let mut child = start();
        // Evenly over the whole run, and as often again over its second half, where the release becomes durable.
        let part = if kill % 2 == 0 { f64::from(kill) / f64::from(kills) } else { 0.5 + 0.55 * f64::from(kill) / f64::from(kills) };
        std::thread::sleep(Duration::from_secs_f64(whole.as_secs_f64() * part));
        let _ = child.kill(); // SIGKILL
        let _ = child.wait();
        let custody = crate::world::custody(&there, Role::Beside);
        let store = custody.store();
        let (chain, period) = (ledger(store).unwrap(), store.period(QUARTER).unwrap().unwrap());
        let kept = released(store, QUARTER).unwrap();
        let opens = custody.vault.period_key(QUARTER).unwrap().is_some();
        match &kept {
            None => {
                none += 1;
                assert!(chain.entries().is_empty() && opens && period.closed.is_none(), "kill {kill}");
                assert_eq!(store.visits_after(QUARTER, None).unwrap().len(), 1000, "kill {kill}");
                assert!(!out.exists() || files(&out).is_empty(), "bytes left before they were durable");
            }
            Some(files) => {
                assert_eq!(chain.entries().len(), Table::of(true).len(), "kill {kill}");
                assert!(!opens && period.wrapped.iter().all(|byte| *byte == 0), "kill {kill}");
                if files.iter().any(|(name, _)| name == RECEIPT) {
                    done += 1;
                } else {
                    half += 1;
                };
            }
        }
        assert_eq!(chain.spent(2025), if kept.is_some() { Rho(60_000) } else { Rho(0) }, "kill {kill}");
        drop(custody);
        // Whatever there was, the next run brings it to its end; what was released stays what it was.
        let complete = start().wait().unwrap();
        assert!(complete.success(), "kill {kill}");
        let custody = crate::world::custody(&there, Role::Beside);
        let now = released(custody.store(), QUARTER).unwrap().unwrap();
        if let Some(kept) = kept {
            assert!(kept.iter().all(|file| now.contains(file)), "kill {kill}: other bytes than before");
        }
        assert_eq!(ledger(custody.store()).unwrap().spent(2025), Rho(60_000), "kill {kill}");
        assert!(custody.store().visits_after(QUARTER, None).unwrap().is_empty());
        assert_eq!(verify(&out, None).failures, Vec::<String>::new(), "kill {kill}");
        assert_eq!(fs::read(out.join(MANIFEST)).unwrap(), now.iter().find(|(name, _)| name == MANIFEST).unwrap().1);
    }
    println!("{kills} kills: {none} without a release, {half} with one and without its receipt, {done} complete");
    assert!(none > kills / 8 && half + done > kills / 8, "the kills did not reach both sides: {none}, {half}, {done}");
}
