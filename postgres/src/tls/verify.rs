//! Who the server is: its certificate's chain, and its name.
//!
//! Chains are judged by webpki. Three things that libpq accepts and webpki does not are judged here:
//! a server whose self-signed certificate is itself in the root file, certificates of X.509
//! version 1 (PostgreSQL's own manual makes such) where nobody asked to verify them, and a common
//! name in place of an alternative one.

use std::sync::Arc;

use rustls::CertificateError;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key,
};
use rustls::server::VerifierBuilderError;
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use x509_cert::Certificate;
use x509_cert::der::asn1::{ObjectIdentifier, PrintableStringRef, TeletexStringRef, Utf8StringRef};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

#[derive(Debug)]
pub(super) struct ServerVerifier {
    /// Nothing: any certificate will do.
    chain: Option<Arc<WebPkiServerVerifier>>,
    anchors: Vec<CertificateDer<'static>>,
    /// The host that the certificate has to name.
    check_name: Option<String>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerVerifier {
    pub(super) fn trusting_anyone(provider: &CryptoProvider) -> ServerVerifier {
        ServerVerifier {
            chain: None,
            anchors: Vec::new(),
            check_name: None,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    pub(super) fn trusting(
        roots: RootCertStore,
        anchors: Vec<CertificateDer<'static>>,
        crls: Vec<CertificateRevocationListDer<'static>>,
        check_name: Option<String>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<ServerVerifier, VerifierBuilderError> {
        let chain =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                .with_crls(crls)
                .enforce_revocation_expiration()
                .build()?;
        Ok(ServerVerifier {
            chain: Some(chain),
            anchors,
            check_name,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    /// Whether the certificate itself was put into the root file, and is valid now.
    fn is_trusted_itself(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> bool {
        let listed = self.anchors.iter().any(|anchor| anchor.as_ref() == certificate.as_ref());
        listed
            && Certificate::from_der(certificate).is_ok_and(|parsed| {
                let validity = parsed.tbs_certificate.validity;
                let now = now.as_secs();
                validity.not_before.to_unix_duration().as_secs() <= now
                    && now <= validity.not_after.to_unix_duration().as_secs()
            })
    }

    fn check_name(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        match &self.check_name {
            Some(host) if !names_host(certificate, host) => {
                Err(CertificateError::NotValidForName.into())
            }
            _ => Ok(()),
        }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        let verdict =
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verdict {
            Ok(verified) => Ok(verified),
            // The name is the last thing webpki looks at: the chain is good. Tests hold it to that.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => {
                self.check_name(end_entity)?;
                Ok(ServerCertVerified::assertion())
            }
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_)))
                if self.is_trusted_itself(end_entity, now) =>
            {
                self.check_name(end_entity)?;
                Ok(ServerCertVerified::assertion())
            }
            Err(error) => Err(error),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let parsed = parse(certificate)?;
        let key = parsed.tbs_certificate.subject_public_key_info;
        let key_algorithm = key.algorithm.to_der().map_err(|_| CertificateError::BadEncoding)?;
        let key_bits = key.subject_public_key.as_bytes().ok_or(CertificateError::BadEncoding)?;
        let candidates =
            self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let (_, candidates) = candidates.ok_or(CertificateError::BadSignature)?;
        // The provider names key algorithms without the tag and length of their sequence.
        let fits = candidates
            .iter()
            .filter(|algorithm| key_algorithm.ends_with(algorithm.public_key_alg_id().as_ref()));
        for algorithm in fits {
            if algorithm.verify_signature(key_bits, message, signed.signature()).is_ok() {
                return Ok(HandshakeSignatureValid::assertion());
            }
        }
        Err(CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = parse(certificate)?.tbs_certificate.subject_public_key_info;
        let key = key.to_der().map_err(|_| CertificateError::BadEncoding)?;
        let key = SubjectPublicKeyInfoDer::from(key);
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn parse(certificate: &CertificateDer<'_>) -> Result<Certificate, rustls::Error> {
    Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding.into())
}

/// libpq's rule: alternative names decide; the common name counts only where there are none of the
/// host's kind.
fn names_host(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let Ok(parsed) = Certificate::from_der(certificate) else { return false };
    let alternatives = match parsed.tbs_certificate.get::<SubjectAltName>() {
        Ok(found) => found.map(|(_, names)| names.0).unwrap_or_default(),
        Err(_) => return false,
    };
    let address = host.parse::<std::net::IpAddr>().ok();
    let mut has_alternative = false;
    for name in &alternatives {
        match (name, address) {
            (GeneralName::DnsName(pattern), _) => {
                has_alternative = true;
                if address.is_none() && matches_pattern(pattern.as_str(), host) {
                    return true;
                }
            }
            (GeneralName::IpAddress(bytes), Some(address)) => {
                has_alternative = true;
                let wanted = match address {
                    std::net::IpAddr::V4(address) => address.octets().to_vec(),
                    std::net::IpAddr::V6(address) => address.octets().to_vec(),
                };
                if bytes.as_bytes() == wanted {
                    return true;
                }
            }
            _ => {}
        }
    }
    !has_alternative
        && common_name(&parsed).is_some_and(|common_name| match address {
            Some(_) => common_name == host,
            None => matches_pattern(&common_name, host),
        })
}

/// The subject's first common name, the one OpenSSL gives libpq.
fn common_name(certificate: &Certificate) -> Option<String> {
    let names = certificate.tbs_certificate.subject.0.iter().flat_map(|set| set.0.iter());
    let value = &names.into_iter().find(|name| name.oid == COMMON_NAME)?.value;
    let text = |text: &str| text.to_owned();
    (value.decode_as::<Utf8StringRef<'_>>().map(|value| text(value.as_str())))
        .or_else(|_| value.decode_as::<PrintableStringRef<'_>>().map(|value| text(value.as_str())))
        .or_else(|_| value.decode_as::<TeletexStringRef<'_>>().map(|value| text(value.as_str())))
        .ok()
}

/// Whether a certificate's name, its first label perhaps `*`, is the host's.
fn matches_pattern(pattern: &str, host: &str) -> bool {
    if pattern.contains('\0') {
        return false;
    }
    let (pattern, host) = (pattern.to_ascii_lowercase(), host.to_ascii_lowercase());
    match pattern.strip_prefix("*.") {
        // One label only: *.example.com is not the name of a.b.example.com.
        Some(domain) => {
            host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == domain)
        }
        None => pattern == host,
    }
}

/// Why a certificate is refused, in an operator's words.
pub(super) fn describe(reason: &CertificateError) -> String {
    let text = match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet"
        }
        CertificateError::Revoked => "the server's certificate is revoked",
        CertificateError::UnknownIssuer => {
            "the server's certificate is not signed by the root certificate"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the server's certificate is for another host name"
        }
        CertificateError::UnknownRevocationStatus => {
            "the revocation list says nothing about the server's certificate"
        }
        CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            "the revocation list has expired"
        }
        CertificateError::BadSignature => "the server's certificate has a bad signature",
        other => return format!("the server's certificate is refused: {other}"),
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label() {
        for (pattern, host, fits) in [
            ("db.example.com", "DB.example.com", true),
            ("*.example.com", "db.example.com", true),
            ("*.example.com", "a.db.example.com", false),
            ("*.example.com", "example.com", false),
            ("*", "localhost", false),
            ("db.example.com", "db.example.org", false),
            ("db\0.example.com", "db", false),
        ] {
            assert_eq!(matches_pattern(pattern, host), fits, "{pattern} for {host}");
        }
    }
}
