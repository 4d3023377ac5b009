use super::*;

#[test]
fn addresses_and_names_are_told_apart() {
    assert!(matches!(server_name("127.0.0.1"), Some(ServerName::IpAddress(_))));
    assert!(matches!(server_name("::1"), Some(ServerName::IpAddress(_))));
    assert!(matches!(server_name("db.example.com"), Some(ServerName::DnsName(_))));
    assert!(server_name("not a name").is_none());
}

#[test]
fn the_binding_is_the_hash_that_the_signature_uses() {
    for (algorithm, length) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, Some(32)),
        (&rcgen::PKCS_ECDSA_P384_SHA384, Some(48)),
        (&rcgen::PKCS_ED25519, None),
    ] {
        let key = rcgen::KeyPair::generate_for(algorithm).expect("key");
        let parameters = rcgen::CertificateParams::new(vec!["db".to_owned()]).expect("parameters");
        let certificate = parameters.self_signed(&key).expect("certificate");
        let hash = end_point::hash(certificate.der());
        assert_eq!(hash.map(|hash| hash.len()), length);
    }
    assert_eq!(end_point::hash(b"no certificate"), None);
}
