//! What stands between stations and central system: nothing, nginx, HAProxy, a naive relay, Sluis; plain, or with TLS towards stations.

use crate::process::{MEASURED_CORE, Process, pinned};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

/// A proxy that is ready.
pub(crate) struct Proxy {
    /// What the table calls it.
    pub(crate) name: &'static str,
    /// The word that chooses it on the command line.
    pub(crate) word: &'static str,
    /// Where stations connect.
    pub(crate) listen: SocketAddr,
    /// Whether with TLS.
    pub(crate) tls: bool,
    /// The processes to measure; none where there is no proxy.
    pub(crate) process: Option<Process>,
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port")
}

fn there_is(program: &str) -> bool {
    let found = Command::new(program).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("notice: {program} is not installed, so it is not measured (apt-get install nginx-light haproxy)");
    }
    found
}

/// Waits until the proxy accepts connections.
fn ready(listen: SocketAddr) {
    for _ in 0..500 {
        if std::net::TcpStream::connect(listen).is_ok() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the proxy at {listen} did not start");
}

/// nginx as a plain HTTP proxy with one worker, and nothing written.
pub(crate) fn nginx(upstream: SocketAddr, dir: &Path, tls: bool) -> Option<Proxy> {
    if !there_is("nginx") {
        return None;
    }
    let listen = free_port();
    let name = if tls { "nginx-tls" } else { "nginx" };
    let at = |file: &str| dir.join(format!("{name}-{file}")).display().to_string();
    let (cert, key) = (dir.join("cert.pem").display().to_string(), dir.join("key.pem").display().to_string());
    let secure = if tls {
        format!("ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:s:20m;")
    } else {
        String::new()
    };
    let ssl = if tls { " ssl" } else { "" };
    let config = format!(
        "daemon off; worker_processes 1; pid {pid}; error_log {error} crit; worker_rlimit_nofile 20000;
         events {{ worker_connections 19990; }}
         http {{
           access_log off; client_body_temp_path {temp}; proxy_temp_path {temp}; fastcgi_temp_path {temp}; uwsgi_temp_path {temp}; scgi_temp_path {temp};
           tcp_nodelay on; keepalive_timeout 1h;
           server {{
             listen {listen}{ssl} backlog=4096; {secure}
             location / {{
               proxy_pass http://{upstream}; proxy_http_version 1.1; proxy_buffering off;
               proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
               proxy_read_timeout 1h; proxy_send_timeout 1h;
             }}
           }}
         }}",
        pid = at("pid"),
        error = at("error"),
        temp = at("temp"),
    );
    std::fs::write(at("conf"), config).expect("a file");
    let child =
        pinned("nginx", MEASURED_CORE).args(["-c", &at("conf"), "-p", &dir.display().to_string()]).stderr(Stdio::null()).spawn().ok()?;
    let process = Process::new(child);
    ready(listen);
    Some(Proxy { name: "nginx", word: "nginx", listen, tls, process: Some(process) })
}

/// HAProxy with one thread, and nothing written.
pub(crate) fn haproxy(upstream: SocketAddr, dir: &Path, tls: bool) -> Option<Proxy> {
    if !there_is("haproxy") {
        return None;
    }
    let listen = free_port();
    let name = if tls { "haproxy-tls" } else { "haproxy" };
    let both = dir.join("both.pem");
    let secure = if tls { format!(" ssl crt {}", both.display()) } else { String::new() };
    let config = format!(
        "global\n  nbthread 1\n  maxconn 9900\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n  timeout tunnel 1h\n  maxconn 9900\nfrontend f\n  bind {listen} backlog 4096{secure}\n  default_backend b\nbackend b\n  server s {upstream}\n"
    );
    let path = dir.join(format!("{name}.cfg"));
    std::fs::write(&path, config).expect("a file");
    let child = pinned("haproxy", MEASURED_CORE).args(["-db", "-q", "-f"]).arg(&path).stderr(Stdio::null()).spawn().ok()?;
    let process = Process::new(child);
    ready(listen);
    Some(Proxy { name: "HAProxy", word: "haproxy", listen, tls, process: Some(process) })
}

/// Bounds that thousands of stations behind one address would meet.
const LIFTED: [(&str, &str); 6] = [
    ("LIMITS__ACCEPTS_PER_SECOND", "0"),
    ("LIMITS__CONNECTIONS_PER_NETWORK", "0"),
    ("LIMITS__STATION_HANDSHAKES_PER_MINUTE", "0"),
    ("LIMITS__TAKEOVERS_PER_MINUTE", "0"),
    ("FRAMES__PER_SECOND", "100000"),
    ("FRAMES__BURST", "1000000"),
];

/// `sluis serve` as it is released, with its strict policy and its journal; only [`LIFTED`] bounds are lifted.
pub(crate) fn sluis(upstream: SocketAddr, dir: &Path, tls: bool) -> Proxy {
    sluis_in(upstream, dir, tls, &dir.join(format!("sluis-data-{}", free_port().port())))
}

/// The same over a data directory that may be there already.
pub(crate) fn sluis_in(upstream: SocketAddr, dir: &Path, tls: bool, data: &Path) -> Proxy {
    let mut lifted = LIFTED.to_vec();
    let (cert, key) = (dir.join("cert.pem").display().to_string(), dir.join("key.pem").display().to_string());
    if tls {
        lifted.extend([("TLS__CERTIFICATES", &*cert), ("TLS__KEYS", &key), ("STATIONS__SECURITY_PROFILE", "0")]);
    }
    serve(&format!("ws://{upstream}/csms"), data, tls, &lifted)
}

/// With TLS towards the central system too.
pub(crate) fn sluis_secure(upstream: SocketAddr, dir: &Path) -> Proxy {
    let (cert, key) = (dir.join("cert.pem").display().to_string(), dir.join("key.pem").display().to_string());
    let data = dir.join(format!("sluis-data-{}", free_port().port()));
    let mut keys = LIFTED.to_vec();
    keys.extend([("TLS__CERTIFICATES", &*cert), ("TLS__KEYS", &key), ("STATIONS__SECURITY_PROFILE", "0"), ("UPSTREAM__CA_FILE", &cert)]);
    serve(&format!("wss://localhost:{}/csms", upstream.port()), &data, true, &keys)
}

/// The same with its default limits, plain.
pub(crate) fn sluis_as_it_comes(upstream: SocketAddr, dir: &Path) -> Proxy {
    serve(&format!("ws://{upstream}/csms"), &dir.join("sluis-as-it-comes"), false, &[])
}

fn serve(upstream: &str, data: &Path, tls: bool, keys: &[(&str, &str)]) -> Proxy {
    let (listen, admin) = (free_port(), free_port());
    #[expect(clippy::disallowed_methods, reason = "another build of the same program can be measured too")]
    let other = std::env::var("BENCH_BINARY");
    let program = other.unwrap_or_else(|_| env!("CARGO_BIN_EXE_sluis").to_owned());
    let mut command = pinned(&program, MEASURED_CORE);
    command.args(["serve", "--listen", &listen.to_string(), "--admin", &admin.to_string(), "--policy", "strict"]);
    command.args(["--upstream", upstream, "--data-dir", &data.display().to_string()]);
    command.env("SLUIS_LOG__LEVEL", "error").envs(keys.iter().map(|(key, value)| (format!("SLUIS_{key}"), value)));
    let child = command.stdin(Stdio::null()).spawn().expect("sluis starts");
    let process = Process::new(child);
    ready(listen);
    Proxy { name: "**sluis**, strict", word: "sluis", listen, tls, process: Some(process) }
}

/// A relay that reads every frame into a `serde_json::Value`.
pub(crate) fn naive(upstream: SocketAddr) -> Proxy {
    this_program("naive relay (serde_json::Value)", "naive", &["naive", &upstream.to_string()], false)
}

/// This program again, as the process to measure: it prints where it listens.
fn this_program(name: &'static str, word: &'static str, arguments: &[&str], tls: bool) -> Proxy {
    let program = std::env::current_exe().expect("a program has a path");
    let mut child = pinned(&program.display().to_string(), MEASURED_CORE)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it tells where it listens");
    let listen = line.trim().parse().expect("an address");
    Proxy { name, word, listen, tls, process: Some(Process::new(child)) }
}
