//! Throw-away certificate authorities.

use std::path::PathBuf;

use pgtrail_tests::scratch;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("key");
        Authority(CertifiedIssuer::self_signed(parameters, key).expect("self-signed"))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate with this common name and these alternative names.
    pub(crate) fn issue(&self, common_name: &str, names: &[&str]) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).expect("parameters");
        parameters.distinguished_name.push(DnType::CommonName, common_name);
        let key = KeyPair::generate().expect("key");
        let certificate = parameters.signed_by(&key, &self.0).expect("signed").pem();
        Issued { certificate, key: key.serialize_pem() }
    }
}

/// A certificate that signs itself, as the PostgreSQL manual's short recipe makes.
pub(crate) fn self_signed(common_name: &str) -> Issued {
    let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    let key = KeyPair::generate().expect("key");
    let certificate = parameters.self_signed(&key).expect("self-signed").pem();
    Issued { certificate, key: key.serialize_pem() }
}

/// Puts text into a new file that only we can read.
pub(crate) fn file(text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = scratch::dir("files").join("file");
    std::fs::write(&path, text).expect("write");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("mode");
    path
}
