//! Who does not want to be counted.

use crate::world::*;
use sluis::clock::Timestamp;
use sluis::identity::{Declared, Identifier};
use sluis::publication::Gate;
use sluis::secret::Sensitive;
use sluis::vault::contributors::{Heard, Objection};

impl World {
    fn objects(&self, text: &str) -> Heard {
        self.custody.vault.object(&Sensitive::new(text.to_owned()), Objection::OptOut, THEN).unwrap().unwrap()
    }

    fn objects_no_more(&self, text: &str) -> Option<bool> {
        self.custody.vault.object_no_more(&Sensitive::new(text.to_owned())).unwrap()
    }
}

#[test]
fn whoever_objects_is_dropped_before_anything_is_kept_and_what_was_kept_goes() {
    let world = World::new();
    world.charges("04A2B3C4", "AC-1", THEN);
    world.charges("04A2B3C5", "AC-1", THEN);
    let heard = world.objects("04:A2:b3-c4");
    assert_eq!((heard.new, heard.removed_from.len(), heard.too_late_for.len()), (true, 2, 0));
    assert_eq!(world.counted(), [1, 1]);
    world.charges("04A2B3C4", "AC-2", THEN);
    assert_eq!(world.counted(), [1, 1]);
    assert!(!world.objects("04A2B3C4").new);
    assert_eq!(world.objects_no_more("04A2B3C4"), Some(true));
    assert_eq!(world.objects_no_more("04A2B3C4"), Some(false));
    world.charges("04A2B3C4", "AC-2", THEN);
    assert_eq!(world.counted(), [2, 2]);
}

#[test]
fn an_objection_reaches_all_cards_of_the_contract_also_those_learnt_later() {
    for by in ["04A2B3C4", "NL-ABC-000001"] {
        let world = World::new();
        world.owns("04A2B3C4", "NL-ABC-000001");
        world.owns("04A2B3C5", "NL-ABC-000001");
        world.owns("04A2B3C6", "NL-ABC-000002");
        for card in ["04A2B3C4", "04A2B3C5", "04A2B3C6"] {
            world.charges(card, "AC-1", THEN);
        }
        assert_eq!(world.counted(), [3, 3]);
        world.objects(by);
        assert_eq!(world.counted(), [1, 1], "by {by}");
        world.owns("04A2B3C7", "NL-ABC-000001");
        for card in ["04A2B3C4", "04A2B3C5", "04A2B3C7", "NL-ABC-000001"] {
            world.charges(card, "AC-1", THEN);
        }
        assert_eq!(world.counted(), [1, 1], "by {by}");
        assert_eq!(world.objects_no_more(by), Some(true));
        world.charges("04A2B3C5", "AC-1", THEN);
        assert_eq!(world.counted(), [2, 2], "by {by}");
    }
}

/// The card objects, and only then an e-MSP says which contract it is of.
#[test]
fn whoever_objected_by_card_objects_as_the_contract_that_becomes_known() {
    let world = World::new();
    world.objects("04A2B3C4");
    world.owns("04A2B3C5", "NL-ABC-000001");
    world.owns("04A2B3C4", "NL-ABC-000001");
    world.charges("04A2B3C5", "AC-1", THEN);
    assert_eq!(world.counted(), [0, 0]);
}

#[test]
fn a_code_of_the_central_systems_will_do_and_one_that_is_not_known_says_so() {
    let world = World::new();
    world.charges("04A2B3C4", "AC-1", THEN);
    let code = world.code("04A2B3C4");
    world.objects(&code);
    assert_eq!(world.counted(), [0, 0]);
    world.custody.rotate(THEN).unwrap();
    world.charges("04A2B3C4", "AC-1", THEN);
    assert_eq!(world.counted(), [0, 0], "in every epoch");
    let unknown = world.custody.vault.object(&Sensitive::new("Z0AAAAAAAAAAAAAAAAAA".to_owned()), Objection::OptOut, THEN).unwrap();
    assert_eq!(unknown, None);
}

/// The gate looked, then somebody objected, and then the batch was committed.
#[test]
fn an_objection_between_the_look_and_the_commit_is_heard() {
    let world = World::new();
    world.charges("04A2B3C5", "AC-1", THEN);
    let session = world.session(&world.code("04A2B3C4"), "AC-1", THEN, 2, 5_000);
    let sites = sluis::cdr::site::Sites::parse(&sites(), ZONE).unwrap();
    let gate = Gate { zone: ZONE };
    let ops = gate.pass(&session, sites.find("AC-1", 1, 1), true, true, &world.custody, THEN).unwrap();
    assert_eq!(ops.len(), 2);
    world.objects("04A2B3C4");
    world.custody.store().commit_blocking(ops).unwrap();
    assert_eq!(world.counted(), [1, 1]);
}

#[test]
fn an_erasure_takes_out_of_open_periods_what_the_erased_added() {
    let world = World::new();
    world.charges("04A2B3C4", "AC-1", THEN);
    world.charges("04A2B3C5", "AC-1", THEN);
    world.custody.vault.erase(&Identifier::from_wire("04A2B3C4", Declared::Undeclared), THEN).unwrap();
    assert_eq!(world.counted(), [1, 1]);
}

#[test]
fn what_is_released_is_out_of_reach_and_the_answer_says_why() {
    let world = World::new();
    world.lives(5);
    world.publication.discard(period(MONTH), CLOSED).unwrap();
    let heard = world.objects(&card(1));
    assert_eq!((heard.removed_from, heard.too_late_for), (vec![QUARTER.to_owned()], vec![MONTH.to_owned()]));
    // By the program, which reads identifiers from its input and prints none.
    let config = world.config(&world.data());
    let asked = world.dir.path().join("asked");
    std::fs::write(&asked, format!("# of the person on the phone\n\n{}\nZ0AAAAAAAAAAAAAAAAAA\n", card(2))).unwrap();
    let said =
        sluis(&["opt-out", "add", "--because", "objection", "--file", asked.to_str().unwrap(), "--config", config.to_str().unwrap()]);
    let (out, err) = (text(&said.stdout), text(&said.stderr));
    assert!(
        out.contains("line 3: is not counted from now on; taken out of 2025-Q3; too late for 2025-09") && out.contains("anonymised"),
        "{out}"
    );
    assert!(err.contains("line 4: the code is not known") && !out.contains(&card(2)) && !err.contains("Z0AAA"), "{err}");
    assert_eq!(said.status.code(), Some(1));
    let listed = text(&sluis(&["opt-out", "list", "--config", config.to_str().unwrap()]).stdout);
    assert!(listed.contains("objection") && listed.contains("opt-out") && listed.contains("2 cards and contracts"), "{listed}");
    assert!(!listed.contains(&card(1)) && !listed.contains(&card(2)));
    world.charges(&card(2), "AC-1", Timestamp(THEN.0 + DAY));
    assert!(world.visits(QUARTER).len() == 15, "two of five are not counted");
}

/// Regressions: what stood behind the first 16 MiB was passed over, and a file's mark of its encoding was taken for a part of the first identifier.
#[test]
fn nobody_in_a_file_of_objections_is_passed_over() {
    let world = World::new();
    let config = world.config(&world.data());
    let asked = world.dir.path().join("asked");
    let asks = |text: &str| {
        std::fs::write(&asked, text).unwrap();
        sluis(&["opt-out", "add", "--file", asked.to_str().unwrap(), "--config", config.to_str().unwrap()])
    };
    let said = asks(&format!("\u{feff}{}\r\n", card(1)));
    assert!(said.status.success(), "{}", text(&said.stderr));
    world.charges(&card(1), "AC-1", THEN);
    assert_eq!(world.counted(), [0, 0]);
    let said = asks(&format!("{}\n{}{}\n", card(2), "# they wrote at length\n".repeat(750_000), card(3)));
    assert_eq!(said.status.code(), Some(1));
    assert!(said.stdout.is_empty() && text(&said.stderr).contains("cannot be read"), "{}", text(&said.stderr));
    world.charges(&card(2), "AC-1", THEN);
    assert_eq!(world.counted(), [1, 1], "nothing was done by halves");
}
