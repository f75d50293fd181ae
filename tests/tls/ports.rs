//! TLS on the OCPI port and on the admin port, with the certificates of the stations' port.

use super::world::*;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn get(address: SocketAddr, pki: &Authority, path: &str) -> String {
    let mut stream = open(address, &trusting(&pki.pem).config()).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn ocpi_and_admin_speak_tls_when_told_to() {
    let (pki, folder, csms) = (Authority::root("a root"), Folder::new(), Csms::start(None).await);
    let mut settings = folder.shelf(&[&pki.sign(&server(&[NAME]))]);
    // Asked of stations only: an OCPI party has its token.
    settings.push(("tls.client_ca", folder.write("ca.pem", &pki.pem)));
    settings.extend([
        ("tls.admin", "true".to_owned()),
        ("ocpi.tls", "true".to_owned()),
        ("ocpi.listen", "127.0.0.1:0".to_owned()),
        ("cpo.party", "NL-CPO".to_owned()),
    ]);
    let gateway = Gateway::start(folder, &csms, settings).await;
    let (admin, ocpi) = (gateway.serving.admin, gateway.serving.ocpi.unwrap());
    // Callers who never finish their handshake are in nobody's way.
    let mut slow = Vec::new();
    for address in [admin, ocpi] {
        for _ in 0..8 {
            slow.push(TcpStream::connect(address).await.unwrap());
        }
    }
    assert!(get(admin, &pki, "/readyz").await.starts_with("HTTP/1.1 200 "));
    assert!(get(admin, &pki, "/metrics").await.contains("sluis_policy_info"));
    assert!(get(ocpi, &pki, "/ocpi/versions").await.starts_with("HTTP/1.1 401 "));
    for address in [admin, ocpi] {
        let mut plain = TcpStream::connect(address).await.unwrap();
        plain.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, plain.read_to_end(&mut answer)).await.expect("the connection ends");
        assert!(!answer.starts_with(b"HTTP"));
    }
    drop(slow);
    gateway.serving.stop().await;
}
