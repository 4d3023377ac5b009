//! TLS as libpq does it, by rustls.
//!
//! Owns what `sslmode` means for certificates. With a root certificate the server's chain is
//! verified in every mode, and in `verify-full` its name too; without one, `require` and weaker
//! modes encrypt without knowing to whom. All files are read anew for each connection, so renewed
//! certificates are taken up without a restart.

mod end_point;
mod verify;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Error;
use crate::conninfo::{
    ClientCertificate, OptionalFile, RootCertificates, SslMode, TlsSettings, TlsVersion,
};
use verify::ServerVerifier;

/// The protocol's name in TLS, required where the handshake begins without SSLRequest.
const ALPN: &[u8] = b"postgresql";

/// Encrypts a connection on which the server expects the handshake.
///
/// Returns the channel binding data with it.
///
/// # Errors
/// When a file cannot be used, the handshake fails, or the server is not who it should be.
pub(crate) async fn handshake(
    stream: TcpStream,
    settings: &TlsSettings,
    host: &str,
) -> Result<(TlsStream<TcpStream>, Option<Vec<u8>>), Error> {
    let target = host.to_owned();
    let failed =
        |what: &str, source| Error::Tls { target: target.clone(), what: what.to_owned(), source };
    if settings.mode == SslMode::VerifyFull && host.is_empty() {
        return Err(failed("verify-full needs a host name", None));
    }
    let name = match server_name(host) {
        Some(name) => name,
        None if settings.mode == SslMode::VerifyFull => {
            return Err(failed("the host's name cannot be in a certificate", None));
        }
        // Only a label for the handshake: without verify-full nothing is compared with it.
        None => ServerName::IpAddress(stream.peer_addr().map_err(Error::broken)?.ip().into()),
    };
    // Reading the system's roots takes tens of milliseconds.
    let (settings, direct, host) = (settings.clone(), settings.direct, host.to_owned());
    let config = tokio::task::spawn_blocking(move || client_config(&settings, &host))
        .await
        .map_err(|_| failed("its settings could not be read", None))??;

    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await.map_err(|error| {
        let what = describe(&error);
        failed(&what, Some(Box::new(error)))
    })?;
    let (_, session) = stream.get_ref();
    if direct && session.alpn_protocol() != Some(ALPN) {
        return Err(failed("the server did not agree to speak postgresql", None));
    }
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let channel_binding = certificate.and_then(|certificate| end_point::hash(certificate));
    Ok((stream, channel_binding))
}

fn server_name(host: &str) -> Option<ServerName<'static>> {
    match host.parse::<IpAddr>() {
        Ok(address) => Some(ServerName::IpAddress(address.into())),
        Err(_) => ServerName::try_from(host.to_owned()).ok(),
    }
}

/// What failed, in words for the operator rather than for the library's authors.
fn describe(error: &std::io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(reason)) => verify::describe(reason),
        Some(rustls::Error::AlertReceived(alert)) => format!("the server sent alert {alert:?}"),
        Some(other) => other.to_string(),
        None => error.to_string(),
    }
}

fn client_config(settings: &TlsSettings, host: &str) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = server_verifier(settings, host, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions(settings))
        .map_err(|error| unusable("ssl_min_protocol_version", &error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match client_certificate(settings.certificate.as_ref())? {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| unusable("sslcert and sslkey", &error))?,
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = settings.sni;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Sessions are long and few: resumption would save nothing, and skip reading the certificate.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

fn versions(settings: &TlsSettings) -> &'static [&'static SupportedProtocolVersion] {
    static ONLY_1_2: &[&SupportedProtocolVersion] = &[&TLS12];
    static ONLY_1_3: &[&SupportedProtocolVersion] = &[&TLS13];
    static BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    match (settings.min_version, settings.max_version) {
        (_, TlsVersion::V1_2) => ONLY_1_2,
        (TlsVersion::V1_3, TlsVersion::V1_3) => ONLY_1_3,
        (TlsVersion::V1_2, TlsVersion::V1_3) => BOTH,
    }
}

fn server_verifier(
    settings: &TlsSettings,
    host: &str,
    provider: &Arc<CryptoProvider>,
) -> Result<ServerVerifier, Error> {
    let Some(anchors) = root_certificates(settings)? else {
        return Ok(ServerVerifier::trusting_anyone(provider));
    };
    let mut roots = RootCertStore::empty();
    for anchor in &anchors {
        // Some system stores hold certificates that cannot be parsed: those vouch for nobody.
        if let Err(error) = roots.add(anchor.clone()) {
            tracing::debug!(%error, "skipped a root certificate");
        }
    }
    let check_name = (settings.mode == SslMode::VerifyFull).then(|| host.to_owned());
    let crls = revocation_lists(settings.crl.as_ref())?;
    ServerVerifier::trusting(roots, anchors, crls, check_name, provider)
        .map_err(|error| unusable("sslrootcert and sslcrl", &error))
}

fn unusable(file: &str, error: &dyn std::error::Error) -> Error {
    Error::TlsFile { file: file.to_owned(), what: error.to_string() }
}

/// The certificates that vouch for the server, or nothing when none are named or needed.
fn root_certificates(
    settings: &TlsSettings,
) -> Result<Option<Vec<CertificateDer<'static>>>, Error> {
    match &settings.root {
        RootCertificates::System => {
            let loaded = rustls_native_certs::load_native_certs();
            if loaded.certs.is_empty() {
                return Err(Error::TlsFile {
                    file: "the system's root certificates".to_owned(),
                    what: "there are none".to_owned(),
                });
            }
            Ok(Some(loaded.certs))
        }
        RootCertificates::File(file) if file.exists() => {
            let certificates = read_all::<CertificateDer<'static>>(file)?;
            match certificates.is_empty() {
                true => Err(wrong_file(file, "it holds no certificate")),
                false => Ok(Some(certificates)),
            }
        }
        RootCertificates::File(file) if settings.mode >= SslMode::VerifyCa => {
            Err(wrong_file(file, "it is not there, and sslmode asks for verification"))
        }
        RootCertificates::Nowhere if settings.mode >= SslMode::VerifyCa => Err(Error::TlsFile {
            file: "sslrootcert".to_owned(),
            what: "it is not given, and sslmode asks for verification".to_owned(),
        }),
        RootCertificates::File(_) | RootCertificates::Nowhere => Ok(None),
    }
}

fn revocation_lists(
    file: Option<&OptionalFile>,
) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
    match file {
        Some(file) if file.required || file.path.exists() => read_all(&file.path),
        _ => Ok(Vec::new()),
    }
}

type ClientChain = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client_certificate(files: Option<&ClientCertificate>) -> Result<Option<ClientChain>, Error> {
    let Some(files) = files else { return Ok(None) };
    if !files.certificate.path.exists() {
        return match files.certificate.required {
            true => Err(wrong_file(&files.certificate.path, "it is not there")),
            false => Ok(None),
        };
    }
    let chain = read_all::<CertificateDer<'static>>(&files.certificate.path)?;
    check_key_mode(&files.key)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| match error {
        pem::Error::NoItemsFound => wrong_file(&files.key, "it holds no unencrypted private key"),
        other => wrong_file(&files.key, &other.to_string()),
    })?;
    Ok(Some((chain, key)))
}

/// libpq's rule: nobody else may read the key, except that root's may be read by its group.
fn check_key_mode(file: &Path) -> Result<(), Error> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(file).map_err(|error| wrong_file(file, &error.to_string()))?;
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    match metadata.mode() & forbidden {
        0 => Ok(()),
        _ => {
            Err(wrong_file(file, "it has group or world access; permissions must be 0600 or less"))
        }
    }
}

fn read_all<T: PemObject>(file: &Path) -> Result<Vec<T>, Error> {
    let items = T::pem_file_iter(file).and_then(Iterator::collect);
    items.map_err(|error| match error {
        pem::Error::Io(error) => wrong_file(file, &error.to_string()),
        other => wrong_file(file, &other.to_string()),
    })
}

fn wrong_file(file: &Path, what: &str) -> Error {
    Error::TlsFile { file: file.display().to_string(), what: what.to_owned() }
}

#[cfg(test)]
mod tests;
