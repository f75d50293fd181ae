//! Security profiles 0 to 3, and who is refused before the central system hears of it.

use super::world::*;
use rustls::version::{TLS12, TLS13};

fn client_ca(folder: &Folder, ca: &Authority) -> (&'static str, String) {
    ("tls.client_ca", folder.write("stations-ca.pem", &ca.pem))
}

/// Each station that may not come in, over TLS 1.2 and 1.3, finds a closed door, and the central system no connection at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_station_with_anothers_certificate_an_expired_or_a_revoked_one_is_refused_before_the_csms_hears_of_it() {
    let (pki, folder, csms) = (Authority::root("a root"), Folder::new(), Csms::start(None).await);
    let (maker, foreign) = (pki.below("makers"), Authority::root("another root"));
    let own = pki.sign(&server(&[NAME]));
    let (good, by_name) = (maker.sign(&station("CS-1")), maker.sign(&Wish { names: &["cs-1"], ..station("serial 4711") }));
    let (revoked, expired) = (maker.sign(&station("CS-1")), maker.sign(&Wish { years: (2020, 2021), ..station("CS-1") }));
    let early = maker.sign(&Wish { years: (2089, 2090), ..station("CS-1") });
    let servers = maker.sign(&Wish { server: true, ..station("CS-1") });
    let other_company = maker.sign(&Wish { organization: "Stroomkoning", ..station("CS-1") });
    let foreigner = foreign.sign(&station("CS-1"));
    let mut settings = folder.shelf(&[&own]);
    settings.push(client_ca(&folder, &pki));
    settings.push(("tls.crls", folder.write("all.crl", &(maker.revokes(&[&revoked]) + &pki.revokes(&[])))));
    settings.push(("tls.client_organization", "Voltbaas".to_owned()));
    settings.push(("stations.security_profile", "3".to_owned()));
    let gateway = Gateway::start(folder, &csms, settings).await;
    let password = basic("CS-1", b"0123456789abcdef");
    let another = maker.sign(&station("CS-2"));
    let longer = maker.sign(&station("CS-11"));
    for version in [&TLS12, &TLS13] {
        let cases = [
            (Some(&another), None, 403, "certificate_of_another_station"),
            (Some(&longer), None, 403, "certificate_of_another_station"),
            // A password that is right does not help.
            (Some(&another), Some(password.as_slice()), 403, "certificate_of_another_station"),
            (Some(&expired), None, 0, "certificate_expired"),
            (Some(&early), None, 0, "certificate_not_yet_valid"),
            (Some(&revoked), None, 0, "certificate_revoked"),
            (Some(&foreigner), None, 0, "certificate_foreign"),
            (Some(&other_company), None, 0, "certificate_foreign"),
            (Some(&servers), None, 0, "certificate_invalid"),
            (None, None, 403, "no_client_certificate"),
            (None, Some(password.as_slice()), 403, "no_client_certificate"),
        ];
        for (shows, authorization, status, reason) in cases {
            let tls = Tls { shows, versions: &[version], ..trusting(&pki.pem) }.config();
            let before = gateway.refused(reason);
            let answer = knock(gateway.address(), Some(&tls), "CS-1", authorization).await;
            assert_eq!(answer.status(), status, "{reason}: {}", answer.head());
            gateway.refuses(reason, before).await;
        }
        assert_eq!(csms.came(), 0);
    }
    for (number, shows) in [&good, &by_name].into_iter().enumerate() {
        let tls = Tls { shows: Some(shows), ..trusting(&pki.pem) }.config();
        knock(gateway.address(), Some(&tls), "CS-1", None).await.talk().await.heartbeat().await;
        assert_eq!((csms.came(), csms.authorization()), (number + 1, None));
    }
}

/// A ticket brings the certificate of an earlier handshake back without a look at it: one that was revoked since came in with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_resumed_is_checked_again() {
    for version in [&TLS12, &TLS13] {
        let (pki, folder, csms) = (Authority::root("a root"), Folder::new(), Csms::start(None).await);
        let (own, shown) = (pki.sign(&server(&[NAME])), pki.sign(&station("CS-1")));
        let mut settings = folder.shelf(&[&own]);
        settings.extend([client_ca(&folder, &pki), ("tls.crls", folder.write("all.crl", &pki.revokes(&[])))]);
        settings.push(("stations.security_profile", "3".to_owned()));
        let gateway = Gateway::start(folder, &csms, settings).await;
        let tls = Tls { shows: Some(&shown), versions: &[version], ..trusting(&pki.pem) }.config();
        for resumes in [false, true] {
            let stream = open(gateway.address(), &tls).await.unwrap();
            let kind = stream.get_ref().1.handshake_kind().unwrap();
            assert_eq!(kind == rustls::HandshakeKind::Resumed, resumes, "{version:?}");
            ask(Box::new(stream), "CS-1", None).await.talk().await.heartbeat().await;
        }
        gateway.folder.write("all.crl", &pki.revokes(&[&shown]));
        gateway.serving.reload().await;
        let before = gateway.refused("certificate_revoked");
        assert_eq!(knock(gateway.address(), Some(&tls), "CS-1", None).await.status(), 0);
        gateway.refuses("certificate_revoked", before).await;
        assert_eq!(csms.came(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_no_revocation_list_speaks_of_is_refused_unless_said_otherwise() {
    for (revocation, status) in [("strict", 0), ("known", 101)] {
        let (pki, folder, csms) = (Authority::root("a root"), Folder::new(), Csms::start(None).await);
        let (listed, silent) = (pki.below("with a list"), pki.below("without"));
        let (revoked, unknown) = (listed.sign(&station("CS-1")), silent.sign(&station("CS-1")));
        let mut settings = folder.shelf(&[&pki.sign(&server(&[NAME]))]);
        settings.push(client_ca(&folder, &pki));
        settings.push(("tls.crls", folder.write("some.crl", &(listed.revokes(&[&revoked]) + &pki.revokes(&[])))));
        settings.push(("tls.revocation", revocation.to_owned()));
        let gateway = Gateway::start(folder, &csms, settings).await;
        let knocks = async |shows| {
            let tls = Tls { shows: Some(shows), ..trusting(&pki.pem) }.config();
            knock(gateway.address(), Some(&tls), "CS-1", None).await.status()
        };
        let before = gateway.refused("certificate_revocation_unknown");
        assert_eq!((knocks(&unknown).await, knocks(&revoked).await), (status, 0), "{revocation}");
        if status == 0 {
            gateway.refuses("certificate_revocation_unknown", before).await;
        }
    }
}

/// OCPP 2.0.1 puts a serial number into the certificate, which need not be the station's id.
#[tokio::test(flavor = "multi_thread")]
async fn a_serial_number_in_the_certificate_is_bound_to_the_station_by_the_register() {
    let (pki, folder, csms) = (Authority::root("a root"), Folder::new(), Csms::start(None).await);
    let mut settings = folder.shelf(&[&pki.sign(&server(&[NAME]))]);
    settings.push(client_ca(&folder, &pki));
    settings.push(("stations.passwords_file", folder.write("stations.csv", "station,hash,certificate\nCS-1,,SN-4711\nCS-2,,\n")));
    let gateway = Gateway::start(folder, &csms, settings).await;
    let (by_serial, by_id) = (pki.sign(&station("SN-4711")), pki.sign(&station("CS-1")));
    for (shows, id, status) in [(&by_serial, "CS-1", 101), (&by_id, "CS-1", 403), (&by_serial, "CS-2", 403), (&by_serial, "SN-4711", 101)] {
        let tls = Tls { shows: Some(shows), ..trusting(&pki.pem) }.config();
        assert_eq!(knock(gateway.address(), Some(&tls), id, None).await.status(), status, "{id}");
    }
}

/// Profile 2: a password over TLS; a certificate is as good, and nothing is not.
#[tokio::test(flavor = "multi_thread")]
async fn profile_2_asks_for_tls_and_a_password() {
    let (pki, folder, csms) = (Authority::root("a root"), Folder::new(), Csms::start(None).await);
    let mut settings = folder.shelf(&[&pki.sign(&server(&[NAME]))]);
    settings.push(client_ca(&folder, &pki));
    let gateway = Gateway::start(folder, &csms, settings).await;
    let tls = trusting(&pki.pem).config();
    let fine = basic("CS-1", b"0123456789abcdef");
    for (header, reason) in [
        (None, "no_credentials"),
        (Some(basic("CS-2", b"0123456789abcdef")), "credentials_of_another_station"),
        (Some(b"Basic ???".to_vec()), "credentials_malformed"),
        (Some(b"Bearer abc".to_vec()), "credentials_malformed"),
    ] {
        let before = gateway.refused(reason);
        let answer = knock(gateway.address(), Some(&tls), "CS-1", header.as_deref()).await;
        assert_eq!(answer.status(), 401, "{reason}");
        assert!(answer.head().contains("\r\nWWW-Authenticate: Basic realm="));
        gateway.refuses(reason, before).await;
    }
    assert_eq!(csms.came(), 0);
    knock(gateway.address(), Some(&tls), "CS-1", Some(&fine)).await.talk().await.heartbeat().await;
    // Whoever checks the password gets it as it came.
    assert_eq!(csms.authorization().unwrap().into_bytes(), fine);
    let shown = pki.sign(&station("CS-1"));
    let tls = Tls { shows: Some(&shown), ..trusting(&pki.pem) }.config();
    assert_eq!(knock(gateway.address(), Some(&tls), "CS-1", None).await.status(), 101);
    // Beside a certificate, what speaks of another station goes no further.
    knock(gateway.address(), Some(&tls), "CS-1", Some(&basic("CS-2", b"x"))).await.talk().await.heartbeat().await;
    assert_eq!((csms.came(), csms.authorization()), (3, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn profile_1_asks_for_a_password_in_plain_text_and_profile_0_for_nothing() {
    for (profile, nothing) in [("1", 401), ("0", 101)] {
        let csms = Csms::start(None).await;
        let gateway = Gateway::start(Folder::new(), &csms, vec![("stations.security_profile", profile.to_owned())]).await;
        assert_eq!(knock(gateway.address(), None, "CS-1", None).await.status(), nothing);
        assert_eq!(csms.came(), usize::from(nothing == 101));
        assert_eq!(knock(gateway.address(), None, "CS-1", Some(&basic("CS-1", b"0123456789abcdef"))).await.status(), 101);
        // In a laboratory, what the central system makes of odd credentials is its own business.
        let odd = knock(gateway.address(), None, "CS-1", Some(b"Basic ???")).await.status();
        assert_eq!(odd, nothing);
        gateway.serving.stop().await;
    }
}

/// One listener stays plain for a terminator in front, the other speaks TLS itself.
#[tokio::test(flavor = "multi_thread")]
async fn two_listeners_are_served_side_by_side_and_stop_together() {
    let (pki, folder, csms) = (Authority::root("a root"), Folder::new(), Csms::start(None).await);
    let mut settings = folder.shelf(&[&pki.sign(&server(&[NAME]))]);
    settings.extend([("tls.listen", "127.0.0.1:0".to_owned()), ("stations.security_profile", "1".to_owned())]);
    let gateway = Gateway::start(folder, &csms, settings).await;
    let (plain, secure) = (gateway.address(), gateway.serving.secure.unwrap());
    let (tls, password) = (trusting(&pki.pem).config(), basic("CS-1", b"0123456789abcdef"));
    let mut first = knock(plain, None, "CS-1", Some(&password)).await.talk().await;
    let mut second = knock(secure, Some(&tls), "CS-2", Some(&basic("CS-2", b"0123456789abcdef"))).await.talk().await;
    first.heartbeat().await;
    second.heartbeat().await;
    assert_eq!(knock(secure, Some(&tls), "CS-3", None).await.status(), 401);
    tokio::time::timeout(PATIENCE, gateway.serving.stop()).await.expect("both listeners stop");
    assert!(tokio::net::TcpStream::connect(plain).await.is_err() && tokio::net::TcpStream::connect(secure).await.is_err());
}
