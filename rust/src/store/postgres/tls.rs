//! TLS with each `sslmode` of libpq. The driver knows three of them; whom to believe is decided here.

use std::path::{Path, PathBuf};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Error, Result};
use crate::sync::Arc;

/// What the URL and the environment say of it.
pub(super) struct Tls {
    pub(super) mode: Option<String>,
    pub(super) roots: Option<String>,
    pub(super) certificate: Option<String>,
    pub(super) key: Option<String>,
    pub(super) home: Option<PathBuf>,
}

/// How much of the server's certificate is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// None of it: the line is encrypted, and whoever is at the other end may be anybody.
    Anybody,
    /// Who signed it.
    Authority,
    /// Who signed it, and whether it is for this host.
    Host,
}

impl Tls {
    /// What the driver must ask for, and how.
    pub(super) fn connector(&self, config: &Config) -> Result<(SslMode, MakeRustlsConnect)> {
        let given = self.roots.as_deref().filter(|path| !path.is_empty());
        let default = self.home.as_ref().map(|home| home.join(".postgresql/root.crt")).filter(|path| path.exists());
        let roots = given.map(PathBuf::from).or(default);
        let (mode, trust) = match self.mode.as_deref() {
            Some("disable") => (SslMode::Disable, Trust::Anybody),
            None | Some("prefer" | "allow") => (SslMode::Prefer, Trust::Anybody),
            // As in libpq: with an authority to ask, it is asked.
            Some("require") if roots.is_some() => (SslMode::Require, Trust::Authority),
            Some("require") => (SslMode::Require, Trust::Anybody),
            Some("verify-ca") => (SslMode::Require, Trust::Authority),
            Some("verify-full") => (SslMode::Require, Trust::Host),
            Some(other) => {
                let rule = "must be disable, allow, prefer, require, verify-ca or verify-full";
                return Err(Error::invalid("sslmode", rule, other));
            }
        };
        let only_files = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        // As in libpq, what belongs to TLS is not looked at where there will be none.
        let (mode, trust) = if only_files { (SslMode::Disable, Trust::Anybody) } else { (mode, trust) };
        let names = mode != SslMode::Disable;
        Ok((mode, MakeRustlsConnect::new(self.client(trust, roots.as_deref(), names)?)))
    }

    /// The driver's side of TLS; it shows a certificate of its own where it `names` itself.
    fn client(&self, trust: Trust, roots: Option<&Path>, names: bool) -> Result<ClientConfig> {
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match (trust, roots) {
            (Trust::Anybody, _) => {
                Arc::new(Chosen { trust, roots: RootCertStore::empty(), provider: provider.clone() })
            }
            (_, None) => {
                return Err(Error::invalid(
                    "sslrootcert",
                    "must name the file of the authority that signed the server's certificate, or be `system`",
                    "nothing, and no ~/.postgresql/root.crt",
                ));
            }
            (Trust::Authority, Some(roots)) => {
                Arc::new(Chosen { trust, roots: read_roots(roots)?, provider: provider.clone() })
            }
            (Trust::Host, Some(roots)) => {
                WebPkiServerVerifier::builder_with_provider(Arc::new(read_roots(roots)?), provider.clone())
                    .build()
                    .map_err(|error| refused("sslrootcert", roots, &error))?
            }
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Internal(format!("TLS: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let file = |given: &Option<String>, name| names.then(|| self.file(given.as_ref(), name)).flatten();
        match (file(&self.certificate, "postgresql.crt"), file(&self.key, "postgresql.key")) {
            (Some(certificate), Some(key)) => {
                let chain = read_certificates("sslcert", &certificate)?;
                let secret = PrivateKeyDer::from_pem_file(&key).map_err(|error| refused("sslkey", &key, &error))?;
                builder.with_client_auth_cert(chain, secret).map_err(|error| refused("sslcert", &certificate, &error))
            }
            (None, None) => Ok(builder.with_no_client_auth()),
            (Some(_), None) | (None, Some(_)) => {
                Err(Error::invalid("sslcert", "must come together with sslkey", "one of the two"))
            }
        }
    }

    /// The file that was named, or the one that libpq looks for.
    fn file(&self, given: Option<&String>, name: &str) -> Option<PathBuf> {
        let default = || Some(self.home.as_ref()?.join(".postgresql").join(name)).filter(|path| path.exists());
        given.filter(|path| !path.is_empty()).map(PathBuf::from).or_else(default)
    }
}

fn read_roots(path: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let certificates = if path == Path::new("system") {
        rustls_native_certs::load_native_certs().certs
    } else {
        read_certificates("sslrootcert", path)?
    };
    let (known, _) = roots.add_parsable_certificates(certificates);
    if known == 0 {
        return Err(refused("sslrootcert", path, &"it holds no certificate"));
    }
    Ok(roots)
}

fn read_certificates(field: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_file_iter(path).map_err(|error| refused(field, path, &error))?;
    all.collect::<Result<_, _>>().map_err(|error| refused(field, path, &error))
}

pub(super) fn refused(field: &str, path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::invalid(field, format!("must be a PEM file that can be read: {why}"), path.display())
}

/// A verifier that does not look at the name of the host, or at nothing but the signature of the handshake.
#[derive(Debug)]
struct Chosen {
    trust: Trust,
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Chosen {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.trust != Trust::Anybody {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
