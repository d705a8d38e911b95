//! Logging in elsewhere, against a real provider of OpenID Connect on the loopback interface: what a browser does, step by
//! step, and what it is told where it does not go well. Providers that lie are in the server's own tests.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::Served;
use super::client::{Answer, request};
use crate::support::{Workshop, python};

/// Browsers name HTML.
const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
/// What the centre proves itself with at the provider.
const SECRET: &str = "canary-hunter2";
/// What logins that are under way are proven with.
const SESSION_KEY: &str = "canary-thirty-two-characters-or-some-more";

/// Starts the provider with the users on standard input, and says where it is.
const PROVIDER: &str = r#"
import json, os, sys, logging
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
logging.disable(logging.CRITICAL)
from oidc_provider_mock import User, app
from werkzeug.serving import make_server
users = [User(sub=claims.pop("sub"), claims=claims) for claims in json.loads(sys.stdin.readline())]
server = make_server("127.0.0.1", 0, app(user_claims=users, require_nonce=True), threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;

/// A provider of logins.
struct Login {
    child: Child,
    address: SocketAddr,
}

impl Login {
    /// Starts one that knows these people; nothing where Python or the package is missing.
    fn start(users: &serde_json::Value) -> Option<Self> {
        let python = python("oidc_provider_mock")?;
        let mut command = Command::new(python);
        command.args(["-W", "ignore", "-c", PROVIDER]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{users}").unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = format!("127.0.0.1:{}", line.trim()).parse().unwrap();
        Some(Self { child, address })
    }

    /// The settings of a centre whose people log in here.
    fn settings(&self, more: &str) -> String {
        settings(&format!("http://{}", self.address), more)
    }

    /// What somebody does whom the browser was sent here with: fills the form in. Returns where they are sent back to.
    fn agrees(&self, sent: &Answer, form: &str) -> String {
        let target = sent.header("location").unwrap();
        let host = format!("http://{}", self.address);
        let target = target.strip_prefix(&host).unwrap_or_else(|| panic!("{target} is not at {host}"));
        assert!(target.contains("code_challenge_method=S256") && target.contains("nonce="), "{target}");
        // It takes its own name from there.
        let address = self.address.to_string();
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("host", address.as_str())];
        // The client of these tests would send a plus sign as one, and not as the space that it is.
        let answer = request(self.address, "POST", &target.replace('+', "%20"), &headers, form.as_bytes());
        assert_eq!(answer.status, 302, "{}", answer.text());
        let back = answer.header("location").unwrap();
        // The client of these tests calls the server so.
        back.strip_prefix("http://test").unwrap_or_else(|| panic!("{back}")).to_owned()
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn settings(issuer: &str, more: &str) -> String {
    format!(
        "[server]\nsession_key = {{ file = \"session.key\" }}\n[server.centre]\nurl = \"http://test\"\n\
         [server.oidc]\nissuer = \"{issuer}\"\nclient_id = \"hambar\"\nclient_secret = {{ file = \"oidc.secret\" }}\n\
         name = \"Example\"\n{more}"
    )
}

fn secrets(workshop: &Workshop) {
    workshop.write("session.key", SESSION_KEY);
    workshop.write("oidc.secret", SECRET);
}

fn ana() -> serde_json::Value {
    json!({"sub": "7", "email": "Ana@Uni.bg", "email_verified": true})
}

fn open(served: &Served, target: &str, cookie: &str) -> Answer {
    served.get_as(None, target, &[BROWSER, ("cookie", cookie)])
}

/// The beginning of a login, and the cookie that the browser has then.
fn begin(served: &Served, next: &str) -> (Answer, String) {
    let sent = open(served, &format!("/login/oidc?next={next}"), "");
    assert_eq!(sent.status, 303, "{}", sent.text());
    let set = sent.header("set-cookie").unwrap();
    for part in ["hambar_login=", "Path=/login;", "Max-Age=600;", "HttpOnly", "SameSite=Lax"] {
        assert!(set.contains(part), "{set}");
    }
    let cookie = set.split(';').next().unwrap().to_owned();
    (sent, cookie)
}

/// The cookie of the session that an answer begins; nothing where it begins none.
fn session(answer: &Answer) -> Option<String> {
    let set = answer.headers.iter().filter(|(name, _)| name == "set-cookie").map(|(_, value)| value);
    let set = set.into_iter().find(|value| value.starts_with("hambar_session="))?;
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && set.contains("Max-Age=43200"), "{set}");
    set.split(';').next().map(str::to_owned)
}

/// A whole login as somebody whom the provider knows.
fn log_in(served: &Served, login: &Login, form: &str) -> Answer {
    let (sent, cookie) = begin(served, "/");
    let back = login.agrees(&sent, form);
    open(served, &back, &cookie)
}

/// Expects a page that says this, tells nothing else, and logs nobody in.
#[track_caller]
fn refused(answer: &Answer, status: u16, said: &str) {
    let text = answer.text();
    assert!(answer.status == status && text.contains(said), "{} {text}", answer.status);
    assert!(session(answer).is_none() && answer.header("cache-control") == Some("no-store"), "{:?}", answer.headers);
    for secret in [SECRET, "code=", "state=", "127.0.0.1", "invalid_", "panick"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_person_logs_in_at_the_provider_and_out_again() {
    let Some(login) = Login::start(&json!([ana()])) else { return };
    let mut served = Served::prepared(&login.settings(""), &[], secrets);
    served.workshop.hambar(&["members", "add-person", "tests", "ana@uni.bg", "--scope", "demo"]).ok();
    let form = open(&served, "/login?next=%2Fsql", "").ok().text();
    assert!(form.contains("href=\"/login/oidc?next=%2Fsql\"") && form.contains("Log in with Example"), "{form}");
    let (sent, cookie) = begin(&served, "/sql");
    let back = login.agrees(&sent, "sub=7");
    // Another browser has begun nothing, and a changed cookie is none.
    refused(&open(&served, &back, ""), 400, "This login is over");
    refused(&open(&served, &back, &format!("{cookie}x")), 400, "This login is over");
    let answer = open(&served, &back, &cookie).ok();
    // The cookie is `Strict`: browsers would hold it back if the answer redirected.
    assert_eq!(answer.header("refresh"), Some("0; url=/sql"));
    let text = answer.text();
    assert!(text.contains("You are logged in") && !text.contains("code=") && !text.contains("state="), "{text}");
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let own = session(&answer).unwrap();
    let page = open(&served, "/", &own).ok().text();
    assert!(page.contains("tests/ana@uni.bg") && page.contains("demo.figures") && !page.contains("closed"), "{page}");
    // The same way back a second time: the provider has taken the code.
    refused(&open(&served, &back, &cookie), 400, "This login is over");
    // Logging out ends the session there, too.
    let csrf = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let headers = [BROWSER, ("cookie", own.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    let out = served.send("POST", "/logout", None, &headers, format!("csrf={csrf}").as_bytes()).ok();
    let target = out.header("refresh").unwrap();
    assert!(
        target.starts_with(&format!("0; url=http://{}/oauth2/end_session?client_id=hambar", login.address)),
        "{target}"
    );
    assert!(target.contains("post_logout_redirect_uri=http%3A%2F%2Ftest%2F"), "{target}");
    assert!(out.headers.iter().any(|(_, value)| value.starts_with("hambar_session=;")), "{:?}", out.headers);
    // Another role holds for the person who is added again, and whoever is removed is out at once.
    served.workshop.hambar(&["members", "revoke", "tests/ana@uni.bg"]).ok();
    until("the session ends with its person", || open(&served, "/", &own).status == 303);
    refused(&log_in(&served, &login, "sub=7"), 403, "knows you as ana@uni.bg");
    let again = ["members", "add-person", "tests", "Ana@uni.bg", "--scope", "*", "--role", "operator"];
    served.workshop.hambar(&again).ok();
    until("she is a member again", || session(&log_in(&served, &login, "sub=7")).is_some());
    let operator = session(&log_in(&served, &login, "sub=7")).unwrap();
    open(&served, "/operations", &operator).ok();
    assert!(served.stop().success());
    let outcomes =
        "SELECT member, outcome, error_class FROM system.audit WHERE event = 'login' AND outcome = 'accepted'";
    assert!(
        served.workshop.rows(outcomes).len() >= 3 && served.workshop.rows(outcomes)[0] == "tests/ana@uni.bg,accepted,"
    );
    let refused = "SELECT DISTINCT member, error_class FROM system.audit WHERE event = 'login' AND outcome = 'refused'";
    assert_eq!(served.workshop.rows(refused), [",denied", "ana@uni.bg,denied"]);
    let log = served.log();
    for secret in [SECRET, SESSION_KEY, cookie.as_str(), own.as_str(), "code="] {
        assert!(!log.contains(secret), "{secret} is in\n{log}");
    }
}

#[test]
fn whoever_is_not_let_in_is_told_why_in_both_languages() {
    let users = json!([ana(), {"sub": "8", "email": "ivan@uni.bg"}, {"sub": "9"}, {"sub": "10", "email": "a b@uni.bg", "email_verified": true}]);
    let Some(login) = Login::start(&users) else { return };
    let mut served = Served::prepared(&login.settings(""), &[], secrets);
    for (form, status, said) in [
        ("sub=7", 403, "You are not a member"),
        ("sub=8", 403, "Your mail address is not confirmed"),
        ("sub=9", 403, "Example does not say who you are"),
        ("sub=10", 403, "Example does not say who you are"),
    ] {
        refused(&log_in(&served, &login, form), status, said);
    }
    // Whom the provider refuses comes back without a state from this one: it ends like a login that nobody has begun.
    let (sent, cookie) = begin(&served, "/");
    let back = login.agrees(&sent, "action=deny");
    assert!(back.contains("error=access_denied"), "{back}");
    let state = sent.header("location").unwrap().split("state=").nth(1).unwrap().split('&').next().unwrap();
    let back = if back.contains("state=") { back } else { format!("{back}&state={state}") };
    let bulgarian = [BROWSER, ("cookie", cookie.as_str()), ("accept-language", "bg")];
    refused(&served.get_as(None, &back, &bulgarian), 403, "Входът беше отказан");
    refused(&open(&served, &back, &cookie), 403, "The login was cancelled");
    for hostile in ["<script>", "%3Cscript%3E", "%00"] {
        let back = format!("/login/callback?error={hostile}&state={state}&next=//evil.example");
        let answer = open(&served, &back, &cookie);
        refused(&answer, 502, "is not set up rightly");
        assert!(!answer.text().contains("<script>") && !answer.text().contains("evil"), "{}", answer.text());
    }
    // Nobody is sent elsewhere afterwards.
    for wrong in ["//evil.example", "https://evil.example", "/\\evil.example", "/login/oidc"] {
        let (sent, cookie) = begin(&served, wrong);
        let back = login.agrees(&sent, "sub=7");
        assert!(!open(&served, &back, &cookie).text().contains("evil.example"), "{wrong}");
    }
    let metrics = served.get("/metrics").ok().text();
    assert!(metrics.contains("hambar_oidc_logins_total{outcome=\"unknown\"} 5"), "{metrics}");
    assert!(metrics.contains("hambar_oidc_logins_total{outcome=\"cancelled\"} 2"), "{metrics}");
    assert!(served.stop().success());
}

#[test]
fn groups_say_what_people_get_and_servers_share_logins_that_are_under_way() {
    let person =
        |sub: &str, groups: serde_json::Value| json!({"sub": sub, "preferred_username": sub, "groups": groups});
    let users = json!([person("ana", json!(["staff"])), person("ivan", json!([]))]);
    let Some(login) = Login::start(&users) else { return };
    let more = "scopes = [\"openid\", \"profile\"]\nmember_claim = \"preferred_username\"\ngroups_claim = \"groups\"\n\
        groups = [{ group = \"staff\", organisation = \"tests\", role = \"operator\", scopes = [\"demo\"] }]\n\
        unknown_organisation = \"guests\"\nunknown_scopes = [\"closed\"]\n";
    let mut served = Served::prepared(&login.settings(more), &[], secrets);
    served.workshop.hambar(&["members", "add-org", "guests"]).ok();
    let own = session(&log_in(&served, &login, "sub=ana").ok()).unwrap();
    let page = open(&served, "/", &own).ok().text();
    assert!(page.contains("tests/ana") && page.contains("/operations") && page.contains("demo.figures"), "{page}");
    let guest = session(&log_in(&served, &login, "sub=ivan").ok()).unwrap();
    let page = open(&served, "/", &guest).ok().text();
    assert!(
        page.contains("guests/ivan") && page.contains("closed.numbers") && !page.contains("demo.figures"),
        "{page}"
    );
    // Begun at one server and finished at another.
    let (sent, cookie) = begin(&served, "/about");
    let back = login.agrees(&sent, "sub=ana");
    assert!(served.stop().success());
    let mut other = Served::over_again(served);
    let answer = open(&other, &back, &cookie).ok();
    assert_eq!(answer.header("refresh"), Some("0; url=/about"));
    open(&other, "/", &own).ok();
    let listed = other.workshop.hambar(&["members", "list", "--format", "csv"]).ok();
    assert!(listed.contains("person, by their groups") && listed.matches("ana").count() == 1, "{listed}");
    other.workshop.hambar(&["members", "revoke", "guests/ivan"]).ok();
    until("a guest who is removed is out", || open(&other, "/", &guest).status == 303);
    refused(&log_in(&other, &login, "sub=ivan"), 403, "You are not a member");
    assert!(other.stop().success());
}

#[test]
fn a_provider_that_is_down_or_not_to_be_asked_is_a_page_and_tokens_still_work() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let by_address = settings(&format!("http://{free}"), "");
    // A name is asked on the usual ports, unless the configuration allows it.
    let by_name = settings(&format!("http://localhost:{}", free.port()), "");
    for (settings, cause) in [(by_address, "connection to"), (by_name, "is not allowed")] {
        let mut served = Served::prepared(&settings, &[], secrets);
        let answer = open(&served, "/login/oidc", "");
        refused(&answer, 503, "Example does not answer");
        assert_eq!(answer.header("retry-after"), Some("5"));
        let bulgarian = served.get_as(None, "/login/oidc?lang=bg", &[BROWSER]);
        refused(&bulgarian, 503, "Example не отговаря");
        served.get("/api/tables").ok();
        assert!(served.stop().success());
        assert!(served.log().contains(cause), "{cause}: {}", served.log());
    }
    let mut none = Served::start("");
    for target in ["/login/oidc", "/login/callback?code=a&state=b"] {
        assert_eq!(open(&none, target, "").status, 404, "{target}");
    }
    assert!(!open(&none, "/login", "").ok().text().contains("/login/oidc"));
    assert!(none.stop().success());
}

#[test]
fn settings_that_lead_nowhere_are_named_and_secrets_are_not_shown() {
    let tried = |text: &str| {
        let workshop = Workshop::new();
        secrets(&workshop);
        let known = std::fs::read_to_string(workshop.path().join("hambar.toml")).unwrap();
        workshop.write("hambar.toml", &format!("{known}\n{text}"));
        workshop.hambar(&["config"])
    };
    let shown = tried(&settings("https://login.example", "")).ok();
    assert!(shown.contains("oidc.secret") && !shown.contains(SECRET) && !shown.contains(SESSION_KEY), "{shown}");
    let issuer = "https://login.example";
    let alone = |text: &str| format!("[server.oidc]\nissuer = \"{issuer}\"\nclient_id = \"hambar\"\n{text}");
    for (wrong, said) in [
        (settings("http://login.example", ""), "`server.oidc.issuer`"),
        (settings("login.example", ""), "`server.oidc.issuer`"),
        (settings("https://a:b@login.example", ""), "more than an address"),
        (alone(""), "`server.centre.url`"),
        (format!("[server.oidc]\nissuer = \"{issuer}\""), "`server.oidc.client_id`"),
        (settings(issuer, "groups_claim = \"groups\""), "belong together"),
        (settings(issuer, "member_claim = \"\""), "`server.oidc.member_claim`"),
        (settings(issuer, "unknown_organisation = \"a\"\nunknown_scopes = [\"A b\"]"), "`server.oidc.unknown_scopes`"),
        (
            settings(
                issuer,
                "groups_claim = \"g\"\ngroups = [{ group = \"x\", organisation = \"a\", role = \"king\" }]",
            ),
            "the group `x`",
        ),
        (alone("client_secret = \"canary-hunter2\""), "client_secret"),
    ] {
        let said_so = tried(&wrong).fails(2, &[said]);
        assert!(!said_so.contains(SECRET), "{said_so}");
    }
    let readonly = settings(issuer, "unknown_organisation = \"a\"").replace("[server]\n", "[server]\naudit = false\n");
    tried(&readonly).fails(2, &["`server.audit = false`"]);
}
