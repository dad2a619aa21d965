//! An authority of the tests' own, and what it signs.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
};

/// Who signs.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// One that nobody knows yet.
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority of the test's");
        Authority(CertifiedIssuer::self_signed(params, key()).expect("a certificate"))
    }

    /// Its own certificate.
    pub fn certificate(&self) -> &Certificate {
        self.0.as_ref()
    }

    /// A certificate for hosts of these names and addresses, and its key.
    pub fn sign(&self, names: impl IntoIterator<Item = impl Into<String>>) -> (Certificate, KeyPair) {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let (params, key) = (CertificateParams::new(names).expect("names"), key());
        (params.signed_by(&key, &self.0).expect("a certificate"), key)
    }
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key")
}
