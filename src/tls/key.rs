//! A key and its certificate: made once, and read from their files at the start.
//!
//! In: paths. Out: the two, which fit each other, or an error that says what to do about it. Here files are opened: at the start
//! and on command, never while connections go on.

use super::Fingerprint;
use crate::limits::{KEY_FILE_SIZE_MAX, TICKET_SECRET_SIZE_MIN};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ED25519};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why there is no key. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file is not there.
    #[error("{}: there is no such file; `rohrpost pair key` makes a key and a certificate for a box of a pair", .0.display())]
    Missing(PathBuf),
    /// A file of the operator's is not there.
    #[error("{}: there is no such file", .0.display())]
    NoFile(PathBuf),
    /// A secret that anybody could guess.
    #[error("{}: it has {size} bytes, and at least {TICKET_SECRET_SIZE_MIN} random ones are wanted: `openssl rand -hex 32`", path.display())]
    Short {
        /// The file.
        path: PathBuf,
        /// How many it has.
        size: usize,
    },
    /// A file cannot be read.
    #[error("{}: {source}; the user that rohrpost runs as has to be able to read it", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key is no secret.
    #[error("{}: its mode is {mode:04o}, so that others may read or change the key: `chmod 600 {}`", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file holds something else.
    #[error("{}: there is no {wanted} in it (PEM)", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What there should be.
        wanted: &'static str,
    },
    /// Another key's certificate, or something that is neither.
    #[error("{} and {} cannot be used with each other: {error}", certificate.display(), key.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong with them.
        error: rustls::Error,
    },
    /// The two cannot be used.
    #[error("the key cannot be used: {0}")]
    Unfit(rustls::Error),
    /// Nobody was named whom the key is to be shown to.
    #[error("the fingerprint of the other box's certificate is wanted, which `rohrpost pair key` says there")]
    NoPeer,
    /// The own fingerprint where that of the other box should be.
    #[error("{0} is the fingerprint of this box's own certificate: that of the other one is wanted here")]
    Own(Fingerprint),
    /// There is a key already.
    #[error("{} exists, and is not overwritten{}", path.display(), fingerprint.map(|fingerprint| format!("; the fingerprint is\n{fingerprint}")).unwrap_or_default())]
    Exists {
        /// The file.
        path: PathBuf,
        /// The fingerprint of the certificate that is there.
        fingerprint: Option<Fingerprint>,
    },
    /// A file cannot be written.
    #[error("{}: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The own key with its certificate.
#[derive(Debug)]
pub struct OwnKey {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl OwnKey {
    /// Reads a key and its certificate, each in PEM.
    pub fn load(certificate: &Path, key: &Path) -> Result<OwnKey, KeyError> {
        let text = read(certificate, false)?;
        let empty = |path: &Path, wanted| KeyError::Empty { path: path.to_owned(), wanted };
        let der = CertificateDer::from_pem_slice(&text).map_err(|_| empty(certificate, "certificate"))?;
        let text = read(key, true)?;
        let own = PrivateKeyDer::from_pem_slice(&text).map_err(|_| empty(key, "private key"))?;
        let provider = rustls::crypto::ring::default_provider();
        rustls::sign::CertifiedKey::from_der(vec![der.clone()], own.clone_key(), &provider)
            .map_err(|error| KeyError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned(), error })?;
        Ok(OwnKey { certificate: der, key: own })
    }

    /// A new one, known to nobody.
    pub fn generate() -> OwnKey {
        let (key, certificate) = generate();
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        OwnKey { certificate: certificate.der().clone(), key: secret }
    }

    /// Makes a key and its certificate in two new files, the key's for its owner alone. Nothing is overwritten.
    pub fn make(certificate: &Path, key: &Path) -> Result<Fingerprint, KeyError> {
        let known = |error| match error {
            KeyError::Exists { path, .. } => KeyError::Exists { path, fingerprint: fingerprint_in(certificate) },
            error => error,
        };
        let (secret, public) = generate();
        write_new(key, 0o600, &secret.serialize_pem()).map_err(known)?;
        write_new(certificate, 0o644, &public.pem()).map_err(known).inspect_err(|_| {
            let _ = fs::remove_file(key);
        })?;
        Ok(Fingerprint::of(public.der()))
    }

    /// What the other box has to know.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }
}

/// Reads a chain, the own certificate first, and its key, each in PEM.
pub(super) fn load_chain(chain: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, KeyError> {
    let empty = |path: &Path, wanted| KeyError::Empty { path: path.to_owned(), wanted };
    let text = read(chain, false).map_err(of_operator)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().unwrap_or_default();
    if certificates.is_empty() {
        return Err(empty(chain, "certificate"));
    }
    let secret = load_private_key(key)?;
    let mismatch = |error| KeyError::Mismatch { certificate: chain.to_owned(), key: key.to_owned(), error };
    let certified = CertifiedKey::from_der(certificates, secret, provider).map_err(mismatch)?;
    // The one that is shown is looked into for its names; a client would not take one that is none.
    let own = certified.end_entity_cert().and_then(rustls::server::ParsedCertificate::try_from);
    own.map(drop).map_err(mismatch)?;
    Ok(certified)
}

/// Reads a private key (PEM), if nobody else can.
///
/// # Errors
/// There is none, or it is no secret.
pub fn load_private_key(path: &Path) -> Result<PrivateKeyDer<'static>, KeyError> {
    let text = read_secret(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| KeyError::Empty { path: path.to_owned(), wanted: "private key" })
}

/// Reads a file that others may not read.
pub(crate) fn read_secret(path: &Path) -> Result<Vec<u8>, KeyError> {
    read(path, true).map_err(of_operator)
}

/// Reads a secret of bytes.
pub(super) fn load_secret(path: &Path) -> Result<Vec<u8>, KeyError> {
    let secret = read_secret(path)?;
    let size = secret.len();
    if size < TICKET_SECRET_SIZE_MIN {
        return Err(KeyError::Short { path: path.to_owned(), size });
    }
    Ok(secret)
}

/// What `rohrpost pair key` does not make.
fn of_operator(error: KeyError) -> KeyError {
    match error {
        KeyError::Missing(path) => KeyError::NoFile(path),
        error => error,
    }
}

/// Ed25519: its signatures are fast and all of one length. The dates are the widest that there are, and nobody heeds them.
fn generate() -> (KeyPair, rcgen::Certificate) {
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("the system gives random bytes");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Rohrpost");
    let certificate = params.self_signed(&key).expect("the certificate is plain");
    (key, certificate)
}

fn fingerprint_in(certificate: &Path) -> Option<Fingerprint> {
    let text = read(certificate, false).ok()?;
    CertificateDer::from_pem_slice(&text).ok().map(|der| Fingerprint::of(&der))
}

/// Reads a small file; a secret one only if others may not.
fn read(path: &Path, secret: bool) -> Result<Vec<u8>, KeyError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => KeyError::Missing(path.to_owned()),
        _ => KeyError::Unreadable { path: path.to_owned(), source },
    };
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.mode() & 0o7777;
    // A group may be the way in which a key is given to the user that needs it: it may read, and no more.
    if secret && mode & 0o037 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = Vec::new();
    file.take(KEY_FILE_SIZE_MAX).read_to_end(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// Writes a file that was not there, durably.
fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), KeyError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = file.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned(), fingerprint: None },
        _ => KeyError::Unwritable { path: path.to_owned(), source },
    })?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let written = written.and_then(|()| File::open(folder)?.sync_all());
    written.map_err(|source| {
        let _ = fs::remove_file(path);
        KeyError::Unwritable { path: path.to_owned(), source }
    })
}
