//! Questions about a driver: whether a token may charge, and what a code stands for.

use crate::ParseParty;
use crate::party::{self, Party, Say};
use crate::world::{World, cdr, codes, emsp, token};
use serde_json::{Value, json};
use sluis::identity::{Codes, Declared, Identifier};
use sluis::store::{CdrState, Op};

#[tokio::test]
async fn the_central_system_asks_by_code_and_learns_no_identifier() {
    let emsp_says = |asked: &party::Asked| match (asked.method.as_str(), asked.target.split('?').next().unwrap()) {
        ("POST", "/tokens/04A2B3C4D5E6F7/authorize") => Say::ocpi(
            200,
            1000,
            json!({
                "allowed": "ALLOWED", "authorization_reference": "ref-2026-11", "info": {"language": "nl", "text": "Dag J. Jansen"},
                "token": {"uid": "04A2B3C4D5E6F7", "visual_number": "VISUAL-4711"},
                "location": {"location_id": "LOC1", "evse_uids": ["E1", "04A2B3C4D5E6F7", "E3"]},
            }),
        ),
        ("POST", "/tokens/04A2B3C4D5E6F8/authorize") => {
            Say::ocpi(200, 1000, json!({"allowed": "BLOCKED", "authorization_reference": "NL-ABC-C04A2B3C4"}))
        }
        ("POST", "/tokens/04A2B3C4D5E6F9/authorize") => Say::ocpi(200, 2002, Value::Null),
        ("POST", "/tokens/04A2B3C4D5E6FA/authorize") => Say::ocpi(404, 2004, Value::Null),
        ("GET", _) => Say::ocpi(200, 1000, json!([])),
        _ => Say::status(500),
    };
    let them = Party::start(move |_, asked| emsp_says(asked)).await;
    let world = World::with(&[
        emsp("NL-ABC", "2.2.1", "pull", &format!("tokens_url = \"{}/tokens\"", them.url)),
        emsp("NL-XYZ", "2.2.1", "pull", ""),
    ])
    .await;
    let (abc, csms) = (world.granted("NL-ABC").await, world.granted("csms").await);
    let put = async |uid: &str, whitelist: &str| {
        let mut object = token("NL-ABC", uid);
        object["whitelist"] = json!(whitelist);
        object["contract_id"] = json!(format!("NL-ABC-C{}", &uid[..8]));
        assert_eq!(world.call("PUT", &format!("/2.2.1/tokens/NL/ABC/{uid}"), &abc, &object).await.http, 201);
        codes(&world, uid).0
    };
    let details = world.get("/2.2.1", &csms).await.data();
    assert!(
        details["endpoints"]
            .as_array()
            .unwrap()
            .contains(&json!({"identifier": "tokens", "role": "SENDER", "url": format!("{}/2.2.1/tokens", world.url)}))
    );
    let roles = world.get("/2.2.1/credentials", &csms).await.data()["roles"].clone();
    assert_eq!((roles[0]["role"].clone(), roles[0]["party_id"].clone(), roles.as_array().unwrap().len()), (json!("EMSP"), json!("ABC"), 2));

    let code = put("04A2B3C4D5E6F7", "NEVER").await;
    let place = json!({"location_id": "LOC1", "evse_uids": ["E1", "E2"], "driver": "J. Jansen"});
    let answer = world.post(&format!("/2.2.1/tokens/{code}/authorize?type=RFID"), &csms, &place).await;
    let said = answer.data();
    assert_eq!(said["allowed"], "ALLOWED");
    assert_eq!(said["location"], json!({"location_id": "LOC1", "evse_uids": ["E1"]}));
    assert_eq!(said["token"]["uid"], code);
    assert_eq!(said["token"]["contract_id"], codes(&world, "NL-ABC-C04A2B3C4").0);
    assert_eq!((said["token"]["issuer"].as_str(), said["token"]["last_updated"].as_str()), (Some("NL-ABC"), Some("2026-11-24T10:00:00Z")));
    for secret in ["04A2B3C4", "C04A2B3C4", "4711", "Jansen", "info", "reference", "ref-2026-11", "An e-MSP"] {
        assert!(!answer.text().contains(secret), "{secret}");
    }
    let asked = them.asked().into_iter().find(|asked| asked.method == "POST").unwrap();
    assert_eq!(serde_json::from_str::<Value>(&asked.body).unwrap(), json!({"location_id": "LOC1", "evse_uids": ["E1", "E2"]}));
    let row = world.store().disclosures(None, 0).unwrap().into_iter().find(|row| row.recipient == "NL-ABC").unwrap();
    assert_eq!((row.purpose.as_str(), row.subject), ("charge", world.custody().vault.subject(&code)));
    // What the central system is told is a disclosure too, of the 2.1.1 answer below as well.
    let to_csms = || world.store().disclosures(None, 0).unwrap().into_iter().filter(|row| row.recipient == "csms").collect::<Vec<_>>();
    let rows = to_csms();
    assert_eq!((rows.len(), rows[0].purpose.as_str(), rows[0].subject), (1, "charge", world.custody().vault.subject(&code)));
    let mut fields: Vec<&str> = said["token"].as_object().unwrap().keys().map(String::as_str).chain(["allowed", "location"]).collect();
    let mut logged: Vec<&str> = rows[0].fields.split(' ').collect();
    fields.sort_unstable();
    logged.sort_unstable();
    assert_eq!(logged, fields);
    // The CDR will carry the reference.
    let owner = "NL-ABC".parse_party();
    let reference = |code: &str| world.custody().vault.reference(code, &owner, sluis::clock::now()).unwrap();
    assert_eq!(reference(&code).as_deref(), Some("ref-2026-11"));

    // 2.1.1 has no token in the answer.
    let old = world.post(&format!("/2.1.1/tokens/{}/authorize", code.to_lowercase()), &csms, &place).await.data();
    assert_eq!(old.as_object().unwrap().keys().collect::<Vec<_>>(), ["allowed", "location"]);
    assert_eq!(to_csms().len(), 2);
    // A reference that is the contract number stays behind.
    let code = put("04A2B3C4D5E6F8", "NEVER").await;
    let said = world.post(&format!("/2.2.1/tokens/{code}/authorize"), &csms, &Value::Null).await.data();
    assert_eq!((said["allowed"].as_str(), said.get("authorization_reference")), (Some("BLOCKED"), None));
    assert_eq!(reference(&code), None);
    let code = put("04A2B3C4D5E6F9", "NEVER").await;
    assert_eq!(world.post(&format!("/2.2.1/tokens/{code}/authorize"), &csms, &Value::Null).await.statuses(), (200, 2002));
    // When its owner does not answer, what it said before decides, unless it wants to be asked each time.
    let (asks, trusts, always) =
        (put("04A2B3C4D5E6FB", "NEVER").await, put("04A2B3C4D5E6FC", "ALLOWED").await, put("04A2B3C4D5E6FD", "ALWAYS").await);
    assert_eq!(world.post(&format!("/2.2.1/tokens/{asks}/authorize"), &csms, &Value::Null).await.statuses(), (200, 3000));
    assert_eq!(world.post(&format!("/2.2.1/tokens/{trusts}/authorize"), &csms, &Value::Null).await.data()["allowed"], "ALLOWED");
    let before = them.count();
    assert_eq!(world.post(&format!("/2.2.1/tokens/{always}/authorize"), &csms, &Value::Null).await.data()["allowed"], "ALLOWED");
    assert_eq!(before, them.count(), "nobody is asked about what is always allowed");
    assert!(to_csms().len() >= 5, "an answer by what is kept is one as well");

    // No oracle: a card number, however right, is as unknown as any word; so is a code of nobody's token.
    let denied = put("04A2B3C4D5E6FA", "NEVER").await;
    let unowned = codes(&world, "0455667788AABB").0;
    let mut answers = Vec::new();
    for word in
        [denied.as_str(), "04A2B3C4D5E6F7", "04:A2:B3:C4:D5:E6:F7", "NL-ABC-C04A2B3C4", &unowned, "Z0AAAAAAAAAAAAAAAAAA", "x", "%20"]
    {
        answers.push(world.post(&format!("/2.2.1/tokens/{word}/authorize"), &csms, &place).await);
    }
    for answer in &answers {
        assert_eq!((answer.statuses(), answer.timeless()), ((404, 2004), answers[0].timeless()));
    }
    for (body, status) in [("[]", (400, 2001)), ("{}", (200, 2001)), (r#"{"location_id":"L","evse_uids":[1]}"#, (200, 2001))] {
        let answer = world
            .send("POST", &format!("/2.2.1/tokens/{code}/authorize"), &[("authorization", &format!("Token {csms}"))], body.as_bytes())
            .await;
        assert_eq!(answer.statuses(), status, "{body}");
    }
    // Each to its own.
    assert_eq!(world.post(&format!("/2.2.1/tokens/{code}/authorize"), &abc, &place).await.statuses(), (404, 2000));
    for path in ["/2.2.1/cdrs", "/2.2.1/tokens/NL/ABC/04A2B3C4D5E6F7", "/2.2.1/resolve"] {
        assert_eq!(world.get(path, &csms).await.statuses(), (404, 2000), "{path}");
    }
    world.stop().await;
}

#[tokio::test]
async fn only_the_owner_learns_what_a_code_stands_for() {
    let world = World::start().await;
    let (abc, xyz) = (world.granted("NL-ABC").await, world.granted("NL-XYZ").await);
    let mine = cdr(&world, "NL-ABC", 1, CdrState::Delivered);
    let code = mine.code.clone().unwrap();
    let mut taken_back = cdr(&world, "NL-ABC", 2, CdrState::Discarded);
    let gone = world.code_at("NL-ABC", "04AABBCCDDEEFF").await;
    taken_back.code = Some(gone.clone());
    world.store().commit(vec![Op::CdrInsert(mine), Op::CdrInsert(taken_back)]).await.unwrap();
    let resolve = async |token: &str, body: Value| world.post("/2.2.1/resolve", token, &body).await;
    assert_eq!(resolve(&abc, json!({"code": code})).await.data(), json!({"uid": "04A2B3C4D5E607", "contract_id": null}));
    world.call("PUT", "/2.2.1/tokens/NL/ABC/04A2B3C4D5E607", &abc, &token("NL-ABC", "04A2B3C4D5E607")).await;
    let full = resolve(&abc, json!({"code": code.to_lowercase(), "what": 1})).await.data();
    assert_eq!(full, json!({"uid": "04A2B3C4D5E607", "contract_id": "NL-ABC-C00000001-X"}));
    let rows = world.store().disclosures(world.custody().vault.subject(&codes(&world, "04A2B3C4D5E607").0).as_ref(), 0).unwrap();
    assert_eq!((rows.len(), rows[0].recipient.as_str(), rows[0].purpose.as_str()), (1, "NL-ABC", "bill"), "once a day for a CDR");
    assert_eq!(rows[0].fields, "uid contract_id", "with what it was told the second time, too");

    let erased = |world: &World| {
        let vault = world.custody().vault.clone();
        tokio::task::spawn_blocking(move || {
            vault.erase(&Identifier::from_wire("04A2B3C4D5E607", Declared::Undeclared), sluis::clock::now()).unwrap()
        })
    };
    let foreign = world.code_at("NL-XYZ", "04A2B3C4D5E607").await;
    let csms = codes(&world, "04A2B3C4D5E607").0;
    let mut answers = vec![resolve(&xyz, json!({"code": code})).await];
    for word in [
        &foreign,
        &gone,
        &csms,
        &"04A2B3C4D5E607".to_owned(),
        &"Z0AAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        &String::new(),
        &"x".repeat(5000),
    ] {
        answers.push(resolve(&abc, json!({"code": word})).await);
    }
    erased(&world).await.unwrap();
    answers.push(resolve(&abc, json!({"code": code})).await);
    for answer in &answers {
        assert_eq!((answer.statuses(), answer.timeless()), ((404, 2004), answers[0].timeless()));
        assert_eq!(answer.header_names(), answers[0].header_names());
        let beats = answer.took.as_millis() / 50;
        assert!(beats >= 1, "an answer leaves on the beat");
    }
    assert_eq!(resolve(&abc, json!({"code": 4711})).await.statuses(), (200, 2001));
    assert_eq!(world.get("/2.2.1/resolve", &abc).await.statuses(), (405, 2000));
    world.stop().await;
}

/// The reference lies in the CDR, in clear: what names the customer in it, in whatever way, is not kept.
#[tokio::test]
async fn a_reference_that_names_the_customer_in_part_or_in_another_encoding_is_not_kept() {
    let words = [
        ("NLABCC12345678", true),         // the contract without its check digit
        ("2026-11-24/C12345678/1", true), // the customer's number in it
        ("2026-11-24/654321/1", true),    // the same of the group's, in the older form
        ("F7E6D5C4B3A204", true),         // the card's bytes from behind
        ("1304792892040951", true),       // as a number
        ("b3JkZXItMjAyNi0xMS0yNA", false),
        ("0b9f6d0e-6a1b-4f57-9c3d-1f2e3d", false),
        ("MDRBMkIzQzRENUU2Rjc", true), // base64
    ];
    let them = Party::start(move |_, asked| match asked.method.as_str() {
        "POST" => {
            let body: Value = serde_json::from_str(&asked.body).unwrap();
            let n: usize = body["location_id"].as_str().unwrap()[3..].parse().unwrap();
            Say::ocpi(200, 1000, json!({"allowed": "ALLOWED", "authorization_reference": words[n].0}))
        }
        _ => Say::ocpi(200, 1000, json!([])),
    })
    .await;
    let world = World::with(&[emsp("NL-ABC", "2.2.1", "pull", &format!("tokens_url = \"{}/tokens\"", them.url))]).await;
    let (abc, csms) = (world.granted("NL-ABC").await, world.granted("csms").await);
    let mut object = token("NL-ABC", "04A2B3C4D5E6F7");
    (object["contract_id"], object["group_id"]) = (json!("NL-ABC-C12345678-0"), json!("NL*ABC*654321*7"));
    object["contract_id"] = json!(format!("NL-ABC-C12345678-{}", check_digit("NLABCC12345678")));
    assert_eq!(world.call("PUT", "/2.2.1/tokens/NL/ABC/04A2B3C4D5E6F7", &abc, &object).await.http, 201);
    let code = codes(&world, "04A2B3C4D5E6F7").0;
    let mut last = None;
    for (n, (word, names)) in words.into_iter().enumerate() {
        world.post(&format!("/2.2.1/tokens/{code}/authorize"), &csms, &json!({"location_id": format!("LOC{n}")})).await.data();
        last = if names { last } else { Some(word) };
        let kept = world.custody().vault.reference(&code, &"NL-ABC".parse_party(), sluis::clock::now()).unwrap();
        assert_eq!(kept.as_deref(), last, "{word}");
    }
    world.stop().await;
}

/// An answer under way must not record anew what was erased meanwhile.
#[tokio::test]
async fn what_is_erased_while_its_owner_is_asked_stays_erased() {
    static CUSTODY: std::sync::OnceLock<std::sync::Arc<sluis::custody::Custody>> = std::sync::OnceLock::new();
    let card = || Identifier::from_wire("04A2B3C4D5E6F7", Declared::Undeclared);
    let them = Party::start(move |_, asked| match asked.method.as_str() {
        "POST" => {
            CUSTODY.get().unwrap().vault.erase(&card(), sluis::clock::now()).unwrap();
            Say::ocpi(200, 1000, json!({"allowed": "ALLOWED", "authorization_reference": "r-1"}))
        }
        _ => Say::ocpi(200, 1000, json!([])),
    })
    .await;
    let world = World::with(&[emsp("NL-ABC", "2.2.1", "pull", &format!("tokens_url = \"{}/tokens\"", them.url))]).await;
    assert!(CUSTODY.set(world.custody()).is_ok());
    let (abc, csms) = (world.granted("NL-ABC").await, world.granted("csms").await);
    assert_eq!(world.call("PUT", "/2.2.1/tokens/NL/ABC/04A2B3C4D5E6F7", &abc, &token("NL-ABC", "04A2B3C4D5E6F7")).await.http, 201);
    let code = world.custody().keys.code(&card(), None);
    let path = format!("/2.2.1/tokens/{code}/authorize");
    for _ in 0..2 {
        assert_eq!(world.post(&path, &csms, &Value::Null).await.statuses(), (404, 2004));
    }
    assert!(world.store().vault_row(&code).unwrap().is_none());
    assert!(world.store().secret_names("").unwrap().iter().all(|name| !name.contains(code.as_str())));
    world.stop().await;
}

/// The one that makes an eMAID equal to itself without it.
fn check_digit(bare: &str) -> char {
    let same = |digit: &char| {
        Identifier::from_wire(&format!("{bare}{digit}"), Declared::Undeclared) == Identifier::from_wire(bare, Declared::Undeclared)
    };
    ('0'..='9').chain('A'..='Z').find(same).unwrap()
}

/// Two e-MSPs that are both asked about drivers at one home must not be told that it is one.
#[tokio::test]
async fn an_emsp_that_is_asked_about_a_driver_at_a_home_is_not_told_which() {
    let them = Party::start(|_, asked| match asked.method.as_str() {
        "POST" => Say::ocpi(200, 1000, json!({"allowed": "ALLOWED"})),
        _ => Say::ocpi(200, 1000, json!([])),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let sites = "station,evse,connector,location_id,evse_uid,evse_id,connector_id,address,city,country,latitude,longitude,standard,format,power_type,tariff,home
CS-H,*,*,HOME-7,EVSE-H,NL*CPO*EH,1,Kerkstraat 7,Gouda,NLD,52.01150,4.71100,IEC_62196_T2,SOCKET,AC_3_PHASE,,true
CS-P,*,*,LOC1,EVSE-P,NL*CPO*EP,1,Dam 1,Amsterdam,NLD,52.37020,4.89520,IEC_62196_T2,SOCKET,AC_3_PHASE,,false
";
    std::fs::write(dir.path().join("sites.csv"), sites).unwrap();
    let more = format!("tokens_url = \"{}/tokens\"\n[billing]\nsites = {:?}\n", them.url, dir.path().join("sites.csv"));
    let world = World::with(&[emsp("NL-ABC", "2.2.1", "pull", &more)]).await;
    let (abc, csms) = (world.granted("NL-ABC").await, world.granted("csms").await);
    assert_eq!(world.call("PUT", "/2.2.1/tokens/NL/ABC/04A2B3C4D5E6F7", &abc, &token("NL-ABC", "04A2B3C4D5E6F7")).await.http, 201);
    let path = format!("/2.2.1/tokens/{}/authorize", codes(&world, "04A2B3C4D5E6F7").0);
    for place in [json!({"location_id": "home-7", "evse_uids": ["EVSE-H"]}), json!({"location_id": "X", "evse_uids": ["EVSE-H"]})] {
        let said = world.post(&path, &csms, &place).await.data();
        assert_eq!((said["allowed"].as_str(), &said["location"]), (Some("ALLOWED"), &place));
        assert_eq!(them.asked().last().unwrap().body, "");
    }
    world.post(&path, &csms, &json!({"location_id": "LOC1"})).await.data();
    assert!(them.asked().iter().any(|asked| asked.body.contains("LOC1")));
    let rows = world.store().disclosures(None, 0).unwrap();
    let asked: Vec<&str> = rows.iter().filter(|row| row.recipient == "NL-ABC").map(|row| row.fields.as_str()).collect();
    assert_eq!(asked, ["uid", "uid", "uid evse_uids location_id"]);
    world.stop().await;
}
