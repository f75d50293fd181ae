//! Why a TLS handshake came to nothing: closed words for logs and metrics. Neither a name nor an address is among them.

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// Why there is no TLS connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// The handshake took longer than it may.
    Slow,
    /// The peer went away in the middle of it.
    Gone,
    /// What came is not TLS; plain `ws://`, most likely.
    NotTls,
    /// The peer offers neither TLS 1.2 nor TLS 1.3.
    OldVersion,
    /// The peer offers no cipher suite or signature that the certificates here can serve.
    NoCommonSuite,
    /// The peer does not accept our certificate.
    NotTrustedByPeer,
    /// The peer's certificate has expired.
    CertificateExpired,
    /// The peer's certificate is not valid yet.
    CertificateNotYetValid,
    /// The peer's certificate was revoked.
    CertificateRevoked,
    /// The peer's certificate is of an authority that is not trusted here.
    CertificateForeign,
    /// No revocation list tells whether the peer's certificate is revoked.
    RevocationUnknown,
    /// The peer's certificate is not one for clients, is malformed, or its signature is wrong.
    CertificateInvalid,
    /// Anything else.
    Failed,
}

impl Trouble {
    /// The word in logs and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Slow => "tls_slow",
            Self::Gone => "tls_gone",
            Self::NotTls => "tls_not_spoken",
            Self::OldVersion => "tls_old_version",
            Self::NoCommonSuite => "tls_no_common_suite",
            Self::NotTrustedByPeer => "tls_not_trusted_by_peer",
            Self::CertificateExpired => "certificate_expired",
            Self::CertificateNotYetValid => "certificate_not_yet_valid",
            Self::CertificateRevoked => "certificate_revoked",
            Self::CertificateForeign => "certificate_foreign",
            Self::RevocationUnknown => "certificate_revocation_unknown",
            Self::CertificateInvalid => "certificate_invalid",
            Self::Failed => "tls_failed",
        }
    }

    pub(super) fn of(error: &std::io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error) => Self::of_tls(error),
            None => Self::Gone,
        }
    }

    pub(super) fn of_tls(error: &Error) -> Self {
        match error {
            Error::InvalidMessage(_) => Self::NotTls,
            Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::SupportedVersionsExtensionRequired
                // TLS 1.2 brought the list of signatures; who has none to offer is older.
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
            ) => Self::OldVersion,
            Error::PeerIncompatible(_) => Self::NoCommonSuite,
            // The resolver had no certificate whose signature the peer can check.
            Error::General(_) | Error::NoCertificatesPresented => Self::NoCommonSuite,
            Error::AlertReceived(
                AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateExpired
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::AccessDenied,
            ) => Self::NotTrustedByPeer,
            Error::AlertReceived(AlertDescription::ProtocolVersion) => Self::OldVersion,
            Error::AlertReceived(AlertDescription::HandshakeFailure) => Self::NoCommonSuite,
            Error::InvalidCertificate(why) => match why {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::CertificateExpired,
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::CertificateNotYetValid,
                CertificateError::Revoked => Self::CertificateRevoked,
                CertificateError::UnknownIssuer => Self::CertificateForeign,
                CertificateError::UnknownRevocationStatus
                | CertificateError::ExpiredRevocationList
                | CertificateError::ExpiredRevocationListContext { .. } => Self::RevocationUnknown,
                _ => Self::CertificateInvalid,
            },
            _ => Self::Failed,
        }
    }
}
