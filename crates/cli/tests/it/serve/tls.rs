//! TLS as clients meet it: what is asked over it is answered, and nothing on its port is answered without.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::Served;
use super::client::{Answer, parse};

const SETTINGS: &str = "[server.tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n\
    [server.connections]\nconnections_max = 2\n";

fn client(certificate: &rcgen::Certificate) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(versions.with_root_certificates(roots).with_no_client_auth())
}

fn connect(served: &Served, client: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let socket = TcpStream::connect(served.address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let connection = ClientConnection::new(Arc::clone(client), "localhost".try_into().unwrap()).unwrap();
    StreamOwned::new(connection, socket)
}

fn ask(stream: &mut impl ReadWrite, target: &str, token: &str) -> Answer {
    let head = format!(
        "GET {target} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    parse(&bytes)
}

trait ReadWrite: Read + Write {}
impl<S: Read + Write> ReadWrite for S {}

/// What a port says to whoever does not speak TLS.
fn plaintext(served: &Served) -> Vec<u8> {
    let mut stream = TcpStream::connect(served.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
}

#[test]
fn tls_is_served_and_nothing_else_on_its_port() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let served = Served::prepared(SETTINGS, &[], |workshop| {
        workshop.write("server.pem", &pem("CERTIFICATE", made.cert.der()));
        workshop.write("server.key", &pem("PRIVATE KEY", &made.signing_key.serialize_der()));
    });
    let client = client(&made.cert);
    assert_eq!(ask(&mut connect(&served, &client), "/healthz", "").ok().text(), "ok\n");
    let sum = ask(&mut connect(&served, &client), "/api/sql.csv?q=SELECT+sum(id)+FROM+demo.figures", &served.token);
    assert!(sum.ok().text().contains("1999000"));
    assert!(!String::from_utf8_lossy(&plaintext(&served)).contains("HTTP/"));
    // The connections so far are ended by now.
    std::thread::sleep(Duration::from_millis(500));
    // Whoever is one too many hears nothing in the clear either.
    let held: Vec<TcpStream> = (0..2).map(|_| TcpStream::connect(served.address).unwrap()).collect();
    assert_eq!(plaintext(&served), b"");
    drop(held);
}

#[test]
fn a_renewed_certificate_is_used_without_a_restart() {
    let [old, new] = [(); 2].map(|()| rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap());
    let served = Served::prepared(SETTINGS, &[], |workshop| {
        workshop.write("server.pem", &pem("CERTIFICATE", old.cert.der()));
        workshop.write("server.key", &pem("PRIVATE KEY", &old.signing_key.serialize_der()));
    });
    // A renewal that is half done: this key is not that certificate's.
    served.workshop.write("server.pem", &pem("CERTIFICATE", new.cert.der()));
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(ask(&mut connect(&served, &client(&old.cert)), "/healthz", "").ok().text(), "ok\n");
    assert!(served.log().contains("server.key"), "{}", served.log());
    served.workshop.write("server.key", &pem("PRIVATE KEY", &new.signing_key.serialize_der()));
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(ask(&mut connect(&served, &client(&new.cert)), "/healthz", "").ok().text(), "ok\n");
}
