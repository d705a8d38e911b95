//! Clients that others made: ADBC and PyArrow from Python, and TLS.

use std::process::Command;
use std::sync::Arc;

use arrow_flight::sql::client::FlightSqlServiceClient;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use super::{ENDLESS, rows, served, status};
use crate::serve::{ROWS, Served};
use crate::support::{Ran, Workshop, setting};

/// Everything that ADBC and PyArrow are expected to get.
const SCRIPT: &str = r#"
import datetime, decimal, sys, threading, time
import adbc_driver_flightsql.dbapi as flightsql
import adbc_driver_manager, pyarrow, pyarrow.flight
from adbc_driver_flightsql import DatabaseOptions
uri, token, endless = sys.argv[1:4]
bearer = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token}"}
connection = flightsql.connect(uri, db_kwargs=bearer, autocommit=True)
cursor = connection.cursor()
cursor.execute("SELECT count(*), sum(id) FROM demo.figures")
print("count", *cursor.fetchone())
cursor.execute("SELECT id, country, year, value, note FROM demo.figures ORDER BY id")
table = cursor.fetch_arrow_table()
print("table", table.num_rows, table.schema.names, table.schema.metadata[b"hambar.sources"].decode()[:40])
cursor.execute("""SELECT true, 1::smallint, 2::int, 3::bigint, 1.5::double, 12.50::decimal(10,2), 'ü', NULL,
    DATE '2024-01-31', TIMESTAMP '2024-01-31 12:00:00.5', arrow_cast('ab', 'Binary'), make_array(1, 2, NULL),
    arrow_cast('coded', 'Dictionary(Int32, Utf8)')""")
# With pandas beside it, PyArrow makes instants in nanoseconds of pandas' own kind.
print("types", tuple(getattr(value, "to_pydatetime", lambda value=value: value)() for value in cursor.fetchone()))
for sql in ("SELECT count(*) FROM demo.figures WHERE country = ? AND id < ?", "SELECT count(*) FROM demo.figures WHERE country = $1 AND id < $2"):
    for country, limit in (("BGR", 30), ("GRC", 3), ("'; DROP", 30)):
        cursor.execute(sql, parameters=(country, limit))
        print("bound", country, limit, *cursor.fetchone())
cursor.execute("SELECT value, repeat('x', 1000) AS text FROM generate_series(1, 200000)")
print("long", sum(batch.num_rows for batch in cursor.fetch_record_batch()))
info = connection.adbc_get_info()
print("vendor", info["vendor_name"], info["vendor_arrow_version"] != "")
objects = connection.adbc_get_objects(depth="all").read_all().to_pylist()
for catalog in objects:
    for schema in catalog["catalog_db_schemas"]:
        for table in schema["db_schema_tables"]:
            if schema["db_schema_name"] == "demo":
                columns = [column["column_name"] for column in table["table_columns"]]
                print("object", catalog["catalog_name"], schema["db_schema_name"], table["table_name"], table["table_type"], columns[:5])
print("types of tables", sorted(connection.adbc_get_table_types()))
print("schema", connection.adbc_get_table_schema("figures", db_schema_filter="demo").names[:5])
print("described", cursor.adbc_execute_schema("SELECT id AS renamed FROM demo.figures").names)
for sql in ("SELECT nothing FROM demo.figures", "SELECT * FROM demo.nothing", "SELEC 1", "INSERT INTO demo.figures VALUES (1)"):
    try:
        with connection.cursor() as failing:
            failing.execute(sql)
            print("no error", sql)
    except adbc_driver_manager.Error as error:
        print("error", type(error).__name__, sql)
try:
    cursor.adbc_ingest("figures", pyarrow.table({"id": [1]}), mode="append")
    print("ingested")
except adbc_driver_manager.Error as error:
    print("not ingested", type(error).__name__)
running = connection.cursor()
timer = threading.Timer(1, running.adbc_cancel)
timer.start()
since = time.monotonic()
try:
    running.execute(endless)
    running.fetchall()
    print("ended")
except adbc_driver_manager.Error as error:
    print("cancelled", time.monotonic() - since < 10)
running.close()
cursor.execute("SELECT 42")
print("after", *cursor.fetchone())
cursor.close()
connection.close()
password = flightsql.connect(uri, db_kwargs={"username": "anybody", "password": token}, autocommit=True)
with password.cursor() as cursor:
    cursor.execute("SELECT 1")
    print("password", *cursor.fetchone())
password.close()
for wrong in ({DatabaseOptions.AUTHORIZATION_HEADER.value: "Bearer hbr_wrong"}, {"username": "x", "password": "hbr_wrong"}, {}):
    try:
        with flightsql.connect(uri, db_kwargs=wrong, autocommit=True) as refused, refused.cursor() as cursor:
            cursor.execute("SELECT 1")
            print("let in", wrong)
    except adbc_driver_manager.Error as error:
        print("refused", error.status_code.name)
client = pyarrow.flight.FlightClient(uri)
options = pyarrow.flight.FlightCallOptions(headers=[client.authenticate_basic_token("anybody", token)])
print("actions", sorted(action.type for action in client.list_actions(options)))
try:
    client.get_flight_info(pyarrow.flight.FlightDescriptor.for_command(b"SELECT 1"), options)
    print("informed")
except pyarrow.ArrowInvalid as error:
    print("not a command", "not a command of Flight SQL" in str(error))
try:
    list(client.list_actions())
    print("listed")
except pyarrow.flight.FlightUnauthenticatedError:
    print("nobody is refused")
client.close()
"#;

#[test]
fn adbc_and_pyarrow_read_ask_and_cancel() {
    let python = setting("HAMBAR_TEST_PYTHON").unwrap_or_else(|| "python3".to_owned());
    let probe = Command::new(&python).args(["-c", "import adbc_driver_flightsql.dbapi, pyarrow.flight"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        let message = "`python3` (or HAMBAR_TEST_PYTHON) lacks adbc-driver-flightsql or pyarrow";
        assert_ne!(setting("CI").as_deref(), Some("true"), "{message}");
        println!("skipped: {message}");
        return;
    }
    let served = served("");
    let uri = format!("grpc://{}", served.flight());
    let mut command = Command::new(&python);
    let said = Ran::of(command.args(["-c", SCRIPT, &uri, &served.token, ENDLESS])).ok();
    let types = "(True, 1, 2, 3, 1.5, Decimal('12.50'), 'ü', None, datetime.date(2024, 1, 31), \
                 datetime.datetime(2024, 1, 31, 12, 0, 0, 500000), b'ab', [1, 2, None], 'coded')";
    let bound = "bound BGR 30 10\nbound GRC 3 1\nbound '; DROP 30 0\n";
    for line in [
        format!("count {ROWS} 1999000\n"),
        format!("table {ROWS} ['id', 'country', 'year', 'value', 'note'] [{{\"table\":\"demo.figures\""),
        format!("types {types}\n"),
        format!("{bound}{bound}long 200000\nvendor Hambar True\n"),
        "object hambar demo figures TABLE ['id', 'country', 'year', 'value', 'note']\n".to_owned(),
        "types of tables ['SYSTEM TABLE', 'TABLE']\nschema ['id', 'country', 'year', 'value', 'note']\n".to_owned(),
        "described ['renamed']\n".to_owned(),
        "error ProgrammingError SELECT nothing FROM demo.figures\n".to_owned(),
        "error ProgrammingError SELECT * FROM demo.nothing\n".to_owned(),
        "error ProgrammingError SELEC 1\n".to_owned(),
        "error ProgrammingError INSERT INTO demo.figures VALUES (1)\n".to_owned(),
        "not ingested ".to_owned(),
        "cancelled True\nafter 42\npassword 1\n".to_owned(),
        "refused UNAUTHENTICATED\nrefused UNAUTHENTICATED\nrefused UNAUTHENTICATED\n".to_owned(),
        "actions ['CancelFlightInfo', 'CancelQuery', 'ClosePreparedStatement', 'CreatePreparedStatement']\n".to_owned(),
        "not a command True\nnobody is refused\n".to_owned(),
    ] {
        assert!(said.contains(&line), "{line}\n{said}");
    }
    served.becomes_idle();
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
}

#[test]
fn tls_is_served_and_plaintext_on_its_port_is_not() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let settings = "[server.tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n";
    let served = Served::prepared(settings, &["--flight", "127.0.0.1:0"], |workshop| {
        workshop.write("server.pem", &pem("CERTIFICATE", made.cert.der()));
        workshop.write("server.key", &pem("PRIVATE KEY", &made.signing_key.serialize_der()));
    });
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = versions.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let (address, token) = (served.flight(), served.token.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let secured = tower::service_fn(move |_: Uri| {
            let connector = connector.clone();
            async move {
                let socket = TcpStream::connect(address).await?;
                let stream = connector.connect("localhost".try_into().unwrap(), socket).await?;
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        let endpoint = Endpoint::from_static("http://localhost");
        let channel: Channel = endpoint.connect_with_connector(secured).await.unwrap();
        let mut sql = FlightSqlServiceClient::new(channel);
        sql.set_token(token);
        let info = sql.execute("SELECT 1".to_owned(), None).await.map_err(status).unwrap();
        assert_eq!(rows(&mut sql, &info).await.unwrap()[0].num_rows(), 1);
        let plain = Endpoint::from_shared(format!("http://{address}")).unwrap();
        match plain.connect().await {
            Err(_) => {}
            Ok(channel) => {
                let mut sql = FlightSqlServiceClient::new(channel);
                let error = status(sql.execute("SELECT 1".to_owned(), None).await.unwrap_err());
                assert!(!error.message().contains("token"), "{error:?}");
            }
        }
    });
    // Nothing else than loopback addresses without it.
    let workshop = Workshop::new();
    workshop
        .hambar(&["serve", "--listen", "127.0.0.1:0", "--flight", "0.0.0.0:0"])
        .fails(2, &["is not a loopback address, and there is no TLS"]);
}
