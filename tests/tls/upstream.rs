//! TLS to the central system: its certificate is checked, ours is shown.

use super::world::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_central_system_is_shown_our_certificate_and_must_show_the_right_one() {
    let pki = Authority::root("a root");
    let (own, ours) = (pki.sign(&server(&["csms.test"])), pki.sign(&station("the gateway")));
    let foreign = Authority::root("another root").sign(&station("the gateway"));
    // (our certificate, the name that is expected, whether the authority is trusted) → what the station gets.
    for (shows, name, trusted, status) in [
        (Some(&ours), "csms.test", true, 101),
        (None, "csms.test", true, 0),
        (Some(&foreign), "csms.test", true, 0),
        (Some(&ours), "other.test", true, 502),
        (Some(&ours), "csms.test", false, 502),
    ] {
        let (folder, csms) = (Folder::new(), Csms::start(Some((&own, Some(&pki.pem)))).await);
        let mut settings = vec![("upstream.server_name", name.to_owned())];
        let trusts = if trusted { pki.pem.clone() } else { Authority::root("yet another").pem };
        settings.push(("upstream.ca_file", folder.write("ca.pem", &trusts)));
        if let Some(shows) = shows {
            settings.push(("upstream.certificate", folder.write("us.pem", &shows.chain)));
            settings.push(("upstream.key", folder.write("us.key", &shows.key)));
        }
        let gateway = Gateway::towards(folder, format!("wss://127.0.0.1:{}/csms", csms.address.port()), settings).await;
        let answer = knock(gateway.address(), None, "CS-1", None).await;
        if status == 101 {
            answer.talk().await.heartbeat().await;
        } else {
            // In TLS 1.3 a server refuses a client's certificate only after both have finished: an answer that does not come.
            let expected: &[u16] = if status == 0 { &[502, 503] } else { &[502] };
            assert!(expected.contains(&answer.status()), "{} for {name}", answer.status());
            assert!(csms.heads.lock().unwrap().is_empty());
        }
        gateway.serving.stop().await;
    }
}

/// Both its own certificate and the authorities it trusts can change while the gateway runs.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_upstream_is_read_again() {
    let (pki, other) = (Authority::root("a root"), Authority::root("another root"));
    let (folder, csms) = (Folder::new(), Csms::start(Some((&pki.sign(&server(&["127.0.0.1"])), Some(&pki.pem)))).await);
    let (wrong, right) = (other.sign(&station("the gateway")), pki.sign(&station("the gateway")));
    let settings = vec![
        ("upstream.ca_file", folder.write("ca.pem", &other.pem)),
        ("upstream.certificate", folder.write("us.pem", &wrong.chain)),
        ("upstream.key", folder.write("us.key", &wrong.key)),
    ];
    let gateway = Gateway::towards(folder, format!("wss://{}/csms", csms.address), settings).await;
    assert_eq!(knock(gateway.address(), None, "CS-1", None).await.status(), 502);
    for (name, content) in [("ca.pem", &pki.pem), ("us.pem", &right.chain), ("us.key", &right.key)] {
        gateway.folder.write(name, content);
    }
    gateway.serving.reload().await;
    knock(gateway.address(), None, "CS-1", None).await.talk().await.heartbeat().await;
}
