//! Who a station is: by its certificate, by its password, or by its word alone. Decided before the central system hears of it, and before
//! an older connection of the same name would be displaced. The profiles are those of OCPP (security white paper for 1.6, §3; 2.0.1 Part 2, A00).

use super::credentials::{Outbound, Passwords, Unusable, basic};
use super::guard::{Guard, Refused, UNAUTHORIZED};
use super::handshake::{Refusal, Request};
use super::socket::Socket;
use crate::reload::Watched;
use crate::tls::{Certificate, Server, Trouble};
use rustls::{HandshakeKind, ProtocolVersion};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

const FORBIDDEN: Refusal = Refusal(403, "Forbidden", None);

/// How a station proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Profile {
    /// 0: not at all. For loopback and for a laboratory; OCPP does not know it.
    #[default]
    None,
    /// 1: by a password, in plain text.
    Password,
    /// 2: by a password, over TLS.
    TlsPassword,
    /// 3: by a certificate, over TLS.
    TlsCertificate,
}

impl Profile {
    /// All of them, by their numbers.
    pub const ALL: [Self; 4] = [Self::None, Self::Password, Self::TlsPassword, Self::TlsCertificate];

    /// Its number in OCPP.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// What it means, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::None => "nothing is asked of a station",
            Self::Password => "a password, also in plain text",
            Self::TlsPassword => "TLS, and a password or a client certificate",
            Self::TlsCertificate => "TLS and a client certificate",
        }
    }
}

/// What stands between the network and a conversation.
#[derive(Default)]
pub struct Entrance {
    /// TLS, for the listeners that speak it.
    pub tls: Option<Arc<Watched<Server>>>,
    /// The least that a station must show.
    pub least: Profile,
    /// The register of stations' passwords that `guard` checks by.
    pub passwords: Option<Arc<Watched<Passwords>>>,
    /// Checks passwords here; `None` leaves it to the central system.
    pub guard: Option<Guard>,
    /// What the central system is told instead of the stations' passwords; `None` passes them on.
    pub outbound: Option<Arc<Watched<Outbound>>>,
}

/// How a connection came in.
pub(super) struct Channel {
    /// The version of TLS, and whether a session was resumed; `None` in plain text.
    pub(super) tls: Option<(&'static str, bool)>,
    certificate: Option<Certificate>,
}

/// Who a station is, as far as it is known here.
pub(super) struct Identified {
    /// The `Authorization` header that the central system gets.
    pub(super) authorization: Option<Vec<u8>>,
    /// Whether it has proven here that it is the station that it says.
    pub(super) proven: bool,
}

impl Entrance {
    /// What should be seen to soon, in closed words.
    pub fn reservations(&self) -> Vec<&'static str> {
        self.tls.iter().flat_map(|tls| tls.get().reservations()).collect()
    }

    /// Makes a connection safe, if its listener speaks TLS.
    pub(super) async fn secure(&self, socket: TcpStream, secure: bool, patience: Duration) -> Result<(Socket, Channel), Trouble> {
        let tls = self.tls.as_ref().filter(|_| secure);
        let Some(tls) = tls else { return Ok((Socket::Plain(socket), Channel { tls: None, certificate: None })) };
        let (stream, certificate) = tls.get().accept_station(socket, patience).await?;
        let (_, connection) = stream.get_ref();
        let version = if connection.protocol_version() == Some(ProtocolVersion::TLSv1_3) { "1.3" } else { "1.2" };
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        Ok((Socket::Tls(Box::new(stream.into())), Channel { tls: Some((version, resumed)), certificate }))
    }

    /// Finds out who a station is.
    pub(super) async fn authenticate(&self, request: &mut Request, channel: &Channel, network: &str) -> Result<Identified, Refused> {
        let station = &request.station;
        let own = request.authorization.take();
        let password = own.as_deref().map(|header| basic(header, [station, &request.raw_id]));
        let shown = match (&channel.certificate, &password) {
            (Some(certificate), _) => {
                let register = self.guard.as_ref().map(Guard::passwords);
                let bound = match register.as_ref().and_then(|register| register.certificate_of(station)) {
                    Some(name) => certificate.names(name),
                    None => certificate.names(station),
                };
                if !bound {
                    return Err(Refused("certificate_of_another_station", FORBIDDEN));
                }
                Profile::TlsCertificate
            }
            (None, Some(Ok(_))) if channel.tls.is_some() => Profile::TlsPassword,
            (None, Some(Ok(_))) => Profile::Password,
            (None, _) => Profile::None,
        };
        if shown < self.least {
            return Err(match (&password, self.least) {
                (_, Profile::TlsCertificate) => Refused("no_client_certificate", FORBIDDEN),
                (Some(Err(Unusable::Malformed)), _) => Refused("credentials_malformed", UNAUTHORIZED),
                (Some(Err(Unusable::OtherUser)), _) => Refused("credentials_of_another_station", UNAUTHORIZED),
                (None, _) => Refused("no_credentials", UNAUTHORIZED),
                (Some(Ok(_)), _) => Refused("plain_text", FORBIDDEN),
            });
        }
        let usable = matches!(password, Some(Ok(_)));
        if let (Some(guard), Some(Ok(password)), Profile::Password | Profile::TlsPassword) = (&self.guard, password, shown) {
            guard.check(station, network, password).await?;
        }
        let proven = shown == Profile::TlsCertificate || (self.guard.is_some() && shown > Profile::None);
        let authorization = match &self.outbound {
            Some(outbound) => match outbound.get().header(station) {
                Some(header) => Some(header),
                None => return Err(Refused("no_upstream_password", Refusal(503, "Service Unavailable", None))),
            },
            // Beside a certificate, a header that speaks of somebody else goes no further.
            None => own.filter(|_| usable || shown == Profile::None),
        };
        Ok(Identified { authorization, proven })
    }
}
