//! Certificates, authorities and lists are read again; connections stay; what cannot be used changes nothing.

use super::world::*;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sluis::serve::Ready;
use std::os::unix::fs::PermissionsExt;

fn der(identity: &Identity) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(identity.chain.as_bytes()).unwrap()
}

async fn served(gateway: &Gateway, pki: &Authority) -> CertificateDer<'static> {
    let stream = open(gateway.address(), &trusting(&pki.pem).config()).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_served_and_the_connections_of_the_old_one_stay() {
    let (pki, folder, csms) = (Authority::root("a root"), Folder::new(), Csms::start(None).await);
    let (old, new) = (pki.sign(&server(&[NAME])), pki.sign(&server(&[NAME])));
    let settings = folder.shelf(&[&old]);
    let gateway = Gateway::start(folder, &csms, settings).await;
    let (tls, password) = (trusting(&pki.pem).config(), basic("CS-1", b"0123456789abcdef"));
    let mut talk = knock(gateway.address(), Some(&tls), "CS-1", Some(&password)).await.talk().await;
    talk.heartbeat().await;
    assert_eq!(served(&gateway, &pki).await, der(&old));

    // A chain that does not fit the key, as in the middle of a change: the old pair stays.
    gateway.folder.write("0.pem", &new.chain);
    gateway.serving.reload().await;
    assert_eq!(served(&gateway, &pki).await, der(&old));
    gateway.folder.write("0.key", &new.key);
    gateway.serving.reload().await;
    assert_eq!(served(&gateway, &pki).await, der(&new));
    talk.heartbeat().await;

    for (name, bad) in [("0.pem", "nonsense"), ("0.key", ""), ("0.key", old.key.as_str())] {
        let good = std::fs::read_to_string(gateway.folder.path(name)).unwrap();
        gateway.folder.write(name, bad);
        gateway.serving.reload().await;
        assert_eq!(served(&gateway, &pki).await, der(&new), "{name}");
        gateway.folder.write(name, &good);
    }
    talk.heartbeat().await;
    assert_eq!(csms.came(), 1);
}

/// Nobody sends a signal: the files are looked at every few seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_noticed_without_a_signal() {
    let (pki, folder, csms) = (Authority::root("a root"), Folder::new(), Csms::start(None).await);
    let (old, new) = (pki.sign(&server(&[NAME])), pki.sign(&server(&[NAME])));
    let settings = folder.shelf(&[&old]);
    let gateway = Gateway::start(folder, &csms, settings).await;
    assert_eq!(served(&gateway, &pki).await, der(&old));
    gateway.folder.write("0.key", &new.key);
    gateway.folder.write("0.pem", &new.chain);
    let noticed = async {
        while served(&gateway, &pki).await != der(&new) {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, noticed).await.expect("the new certificate is served");
}

#[test]
fn all_that_is_wrong_with_files_is_told_at_once_and_no_content_is_quoted() {
    let (pki, folder) = (Authority::root("a root"), Folder::new());
    let (one, two) = (pki.sign(&server(&[NAME])), pki.sign(&server(&[NAME])));
    let mut settings = folder.shelf(&[&one, &two, &one]);
    std::fs::set_permissions(folder.path("0.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    folder.write("1.key", &one.key);
    folder.write("2.pem", "-----BEGIN CERTIFICATE-----\nc2VjcmV0NDcxMQ==\n-----END CERTIFICATE-----\n");
    settings.push(("tls.client_ca", folder.path("nowhere").display().to_string()));
    settings.push(("tls.crls", folder.write("x.crl", "secret4711")));
    settings.push(("stations.passwords_file", folder.write("p.csv", "station,hash\nCS-1,secret4711\n")));
    settings.push(("upstream.password_file", folder.write("u", "\n")));
    let config = config(&folder, "ws://127.0.0.1:1/csms".to_owned(), settings).unwrap();
    let mistakes = Ready::read(&config).err().unwrap().join("\n");
    for expected in [
        "tls.keys[0]: may be read or written by everybody",
        "tls.keys[1]: is not the key of",
        "tls.certificates[2]: holds something that is no certificate",
        "tls.client_ca: does not exist",
        "tls.crls[0]: holds no certificate revocation list",
        "stations.passwords_file: line 2: holds something that is no hash",
        "upstream.password_file: is empty",
    ] {
        assert!(mistakes.contains(expected), "{expected} in:\n{mistakes}");
    }
    assert!(!mistakes.contains("4711") && !mistakes.contains("c2Vj") && !mistakes.contains("CS-1"));
}

/// What `sluis check` says of what a station can use.
#[test]
fn the_check_tells_which_suites_are_possible() {
    let (pki, folder) = (Authority::root("a root"), Folder::new());
    let ecdsa = pki.sign(&server(&[NAME, "other.test"]));
    let rsa = pki.sign(&Wish { rsa: true, years: (2020, 2021), ..server(&[NAME]) });
    let report = |all: &[&Identity], extra: &[(&'static str, &str)]| {
        let mut settings = folder.shelf(all);
        settings.extend(extra.iter().map(|(key, value)| (*key, (*value).to_owned())));
        let config = config(&folder, "ws://127.0.0.1:1/csms".to_owned(), settings).unwrap();
        Ready::read(&config).unwrap().report(&config).join("\n")
    };
    let both = report(&[&rsa, &ecdsa], &[]);
    for expected in [
        "security profile 2 or higher",
        "TLS certificate: ECDSA for gateway.test, other.test; until 2090-01-01",
        "TLS certificate: RSA   for gateway.test; until 2021-01-01",
        "EXPIRED",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: possible",
        "TLS_RSA_WITH_AES_256_GCM_SHA384: never possible",
        "TLS13_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "need a TLS terminator in front",
        "a TLS certificate has expired",
    ] {
        assert!(both.contains(expected), "{expected} in:\n{both}");
    }
    let only_rsa = report(&[&rsa], &[]);
    assert!(only_rsa.contains("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: not possible: it needs an ECDSA certificate"), "{only_rsa}");
    assert!(only_rsa.contains("note: without an ECDSA certificate") && !only_rsa.contains("TLS 1.2 suites: TLS_ECDHE_ECDSA"));
    let new = report(&[&ecdsa], &[("tls.min_version", "1.3")]);
    assert!(new.contains("TLS 1.2 suites: none") && new.contains("not possible: tls.min_version is 1.3"), "{new}");
}
