//! Handshakes as they are met in the field (field failure 13): old lists of suites, no SNI, chains, plain text, slow ones.

use super::world::*;
use rustls::CipherSuite as Suite;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// The part that rustls knows of the list that libocpp has for TLS 1.2.
const LIBOCPP: &[Suite] = &[Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384];
const RSA_ONLY: &[Suite] = &[Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384];

fn der(identity: &Identity) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(identity.chain.as_bytes()).unwrap()
}

fn password() -> Vec<u8> {
    basic("CS-1", b"0123456789abcdef")
}

#[tokio::test(flavor = "multi_thread")]
async fn field_13_ecdsa_and_rsa_are_served_side_by_side_each_to_whom_can_use_it() {
    let (pki, folder, csms) = (Authority::root("a root"), Folder::new(), Csms::start(None).await);
    let ecdsa = pki.sign(&server(&[NAME]));
    let rsa = pki.sign(&Wish { rsa: true, ..server(&[NAME]) });
    // In this order, so that it is not the order that decides.
    let settings = folder.shelf(&[&rsa, &ecdsa]);
    let gateway = Gateway::start(folder, &csms, settings).await;
    for (suites, versions, expected) in [
        (Some(LIBOCPP), &[&TLS12][..], &ecdsa),
        (Some(&LIBOCPP[..1]), &[&TLS12], &ecdsa),
        (Some(&LIBOCPP[1..]), &[&TLS12], &ecdsa),
        (Some(RSA_ONLY), &[&TLS12], &rsa),
        (None, &[&TLS12], &ecdsa),
        (None, &[&TLS13], &ecdsa),
    ] {
        let tls = Tls { suites, versions, ..trusting(&pki.pem) }.config();
        let stream = open(gateway.address(), &tls).await.unwrap();
        assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], der(expected), "{suites:?}");
        ask(Box::new(stream), "CS-1", Some(&password())).await.talk().await.heartbeat().await;
    }
}

/// With an RSA certificate only, such a station has no suite in common with us; the reason says so.
#[tokio::test(flavor = "multi_thread")]
async fn field_13_a_station_without_a_common_suite_is_counted_as_such() {
    let (pki, folder, csms) = (Authority::root("a root"), Folder::new(), Csms::start(None).await);
    let settings = folder.shelf(&[&pki.sign(&Wish { rsa: true, ..server(&[NAME]) })]);
    let gateway = Gateway::start(folder, &csms, settings).await;
    let tls = Tls { suites: Some(LIBOCPP), versions: &[&TLS12], ..trusting(&pki.pem) }.config();
    let before = gateway.refused("tls_no_common_suite");
    assert_eq!(knock(gateway.address(), Some(&tls), "CS-1", Some(&password())).await.status(), 0);
    gateway.refuses("tls_no_common_suite", before).await;
    assert_eq!(csms.came(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn field_13_without_a_server_name_or_with_a_strange_one_the_default_is_served() {
    let (pki, folder, csms) = (Authority::root("a root"), Folder::new(), Csms::start(None).await);
    let first = pki.sign(&server(&[NAME, "127.0.0.1"]));
    let second = pki.sign(&server(&["second.test", "*.wild.test", "strange.test"]));
    let settings = folder.shelf(&[&first, &second]);
    let gateway = Gateway::start(folder, &csms, settings).await;
    let seen = async |name: &'static str, sni: bool, versions| {
        let tls = Tls { sni, versions, ..trusting(&pki.pem) }.config();
        let stream = open_named(gateway.address(), &tls, name).await;
        stream.map(|stream| stream.get_ref().1.peer_certificates().unwrap()[0].clone())
    };
    for versions in [&[&TLS12][..], &[&TLS13]] {
        assert_eq!(seen(NAME, false, versions).await.unwrap(), der(&first));
        assert_eq!(seen("127.0.0.1", true, versions).await.unwrap(), der(&first), "an address is no server name");
        assert_eq!(seen(NAME, true, versions).await.unwrap(), der(&first));
        assert_eq!(seen("SECOND.test", true, versions).await.unwrap(), der(&second));
        assert_eq!(seen("a.wild.test", true, versions).await.unwrap(), der(&second));
        // The station finds the default, and decides for itself that the name does not fit.
        assert!(seen("unheard.test", true, versions).await.unwrap_err().to_string().contains("not valid for name"));
    }
}

/// The whole chain is sent: a station that knows the root only cannot build it by itself.
#[tokio::test(flavor = "multi_thread")]
async fn field_13_the_full_chain_is_sent() {
    let (pki, folder, csms) = (Authority::root("a root"), Folder::new(), Csms::start(None).await);
    let own = pki.below("one").below("two").sign(&server(&[NAME]));
    let settings = folder.shelf(&[&own]);
    let gateway = Gateway::start(folder, &csms, settings).await;
    let stream = open(gateway.address(), &trusting(&pki.pem).config()).await.unwrap();
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap().len(), 3);
    ask(Box::new(stream), "CS-1", Some(&password())).await.talk().await.heartbeat().await;
}

async fn one_certificate(extra: &[(&'static str, &str)]) -> (Authority, Csms, Gateway) {
    let (pki, folder, csms) = (Authority::root("a root"), Folder::new(), Csms::start(None).await);
    let mut settings = folder.shelf(&[&pki.sign(&server(&[NAME]))]);
    settings.extend(extra.iter().map(|(key, value)| (*key, (*value).to_owned())));
    let gateway = Gateway::start(folder, &csms, settings).await;
    (pki, csms, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_text_on_the_tls_port_ends_the_connection() {
    let (_, csms, gateway) = one_certificate(&[]).await;
    let before = gateway.refused("tls_not_spoken");
    // It may get TLS's alert, which is no HTTP.
    let mut socket = TcpStream::connect(gateway.address()).await.unwrap();
    socket.write_all(b"GET /ocpp/CS-1 HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("the connection ends");
    assert!(!answer.starts_with(b"HTTP"));
    gateway.refuses("tls_not_spoken", before).await;
    assert_eq!(csms.came(), 0);
}

/// The hello of a TLS 1.1 client, which lists neither versions nor signatures.
#[tokio::test(flavor = "multi_thread")]
async fn field_13_an_old_version_is_refused_and_counted_as_such() {
    let (_, csms, gateway) = one_certificate(&[]).await;
    for version in [1u8, 2] {
        let before = gateway.refused("tls_old_version");
        let mut hello = vec![3, version];
        hello.extend([7; 32]);
        // No session, TLS_RSA_WITH_AES_128_CBC_SHA, no compression.
        hello.extend([0, 0, 2, 0, 0x2f, 1, 0]);
        let mut record = vec![22, 3, 1, 0, hello.len() as u8 + 4, 1, 0, 0, hello.len() as u8];
        record.extend(hello);
        let mut socket = TcpStream::connect(gateway.address()).await.unwrap();
        socket.write_all(&record).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("the connection ends");
        // A fatal alert: protocol version, or a handshake that failed.
        assert!(answer.first() == Some(&21) && [70, 40].contains(answer.last().unwrap()), "{answer:?}");
        gateway.refuses("tls_old_version", before).await;
    }
    assert_eq!(csms.came(), 0);
}

/// One deadline for both handshakes: neither a half of TLS nor a half of HTTP after it holds a connection for longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_handshake_is_ended_in_time() {
    let (pki, csms, gateway) = one_certificate(&[("stations.handshake_seconds", "2")]).await;
    let before = gateway.refused("tls_slow");
    for bytes in [&b""[..], &[22], &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]] {
        let (began, mut socket) = (Instant::now(), TcpStream::connect(gateway.address()).await.unwrap());
        socket.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("the connection ends");
        assert!(began.elapsed().as_secs_f32() < 4.0);
    }
    gateway.refuses("tls_slow", before + 2).await;
    let (began, mut socket) = (Instant::now(), TcpStream::connect(gateway.address()).await.unwrap());
    // Half of the time goes by before a byte comes, and the rest drips.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let connector = tokio_rustls::TlsConnector::from(trusting(&pki.pem).config());
    let name = rustls::pki_types::ServerName::try_from(NAME).unwrap();
    let mut stream = connector.connect(name, &mut socket).await.unwrap();
    let answer = loop {
        let drip = async {
            let _ = stream.write_all(b"G").await;
            let _ = stream.flush().await;
            let mut answer = vec![0; 64];
            let read = tokio::time::timeout(std::time::Duration::from_millis(100), stream.read(&mut answer)).await.ok()?;
            read.ok().map(|n| String::from_utf8_lossy(&answer[..n]).into_owned())
        };
        if let Some(answer) = drip.await {
            break answer;
        }
        assert!(began.elapsed().as_secs_f32() < 4.0, "the deadline holds");
    };
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(csms.came(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_2_can_be_switched_off() {
    let (pki, _, gateway) = one_certificate(&[("tls.min_version", "1.3")]).await;
    let before = gateway.refused("tls_old_version");
    let old = Tls { versions: &[&TLS12], ..trusting(&pki.pem) }.config();
    assert_eq!(knock(gateway.address(), Some(&old), "CS-1", Some(&password())).await.status(), 0);
    gateway.refuses("tls_old_version", before).await;
    assert_eq!(knock(gateway.address(), Some(&trusting(&pki.pem).config()), "CS-1", Some(&password())).await.status(), 101);
}
