//! `tls-server-end-point` (RFC 5929): a hash that ties an authentication to the server's certificate.

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use x509_cert::Certificate;
use x509_cert::der::asn1::{ContextSpecific, ObjectIdentifier};
use x509_cert::der::{Decode, SliceReader, TagNumber};
use x509_cert::spki::AlgorithmIdentifierOwned;

const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

/// The hash a certificate's signature is made over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// The certificate's hash by the algorithm its own signature uses; MD5 and SHA-1 give way to
/// SHA-256. Nothing where the signature names no hash (Ed25519): there the RFC defines no binding.
pub(super) fn hash(certificate: &[u8]) -> Option<Vec<u8>> {
    let parsed = Certificate::from_der(certificate).ok()?;
    Some(match signature_hash(&parsed.signature_algorithm)? {
        Hash::Sha224 => Sha224::digest(certificate).to_vec(),
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

fn signature_hash(algorithm: &AlgorithmIdentifierOwned) -> Option<Hash> {
    if algorithm.oid == RSA_PSS {
        return pss_hash(algorithm);
    }
    Some(match algorithm.oid.to_string().as_str() {
        // RSA with MD5, SHA-1, SHA-256; ECDSA with SHA-1, SHA-256; DSA with SHA-1, SHA-256.
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.113549.1.1.11" => Hash::Sha256,
        "1.2.840.10045.4.1" | "1.2.840.10045.4.3.2" => Hash::Sha256,
        "1.2.840.10040.4.3" | "2.16.840.1.101.3.4.3.2" => Hash::Sha256,
        "1.2.840.113549.1.1.14" | "1.2.840.10045.4.3.1" => Hash::Sha224,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Hash::Sha384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Hash::Sha512,
        _ => return None,
    })
}

/// RSASSA-PSS names its hash in its parameters, SHA-1 if it does not.
fn pss_hash(algorithm: &AlgorithmIdentifierOwned) -> Option<Hash> {
    let Some(parameters) = &algorithm.parameters else { return Some(Hash::Sha256) };
    let mut reader = SliceReader::new(parameters.value()).ok()?;
    let named =
        ContextSpecific::<AlgorithmIdentifierOwned>::decode_explicit(&mut reader, TagNumber::N0)
            .ok()?;
    let Some(named) = named else { return Some(Hash::Sha256) };
    Some(match named.value.oid.to_string().as_str() {
        "1.3.14.3.2.26" | "2.16.840.1.101.3.4.2.1" => Hash::Sha256,
        "2.16.840.1.101.3.4.2.2" => Hash::Sha384,
        "2.16.840.1.101.3.4.2.3" => Hash::Sha512,
        "2.16.840.1.101.3.4.2.4" => Hash::Sha224,
        _ => return None,
    })
}
