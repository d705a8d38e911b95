//! The web page as a browser without scripts meets it: what pages show, in which language, to whom, and that nothing in
//! the data becomes a part of the page.

use std::time::{Duration, Instant};

use super::Served;
use super::client::Answer;
use crate::support::{Ran, Workshop, setting, snapshot_of};

/// What no page may hold as it is.
const HOSTILE: &str = "<script>alert(1)</script>";
/// What a browser says that it takes.
pub(super) const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");

/// A page, as the administrator sees it.
#[track_caller]
fn page(served: &Served, target: &str) -> String {
    let answer = served.get_as(Some(&served.token), target, &[BROWSER]).ok();
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{target}");
    answer.text()
}

/// Logs in with a token; returns the answer with the cookie.
fn log_in(served: &Served, token: &str, more: &[(&str, &str)]) -> Answer {
    let mut headers = vec![BROWSER, ("content-type", "application/x-www-form-urlencoded")];
    headers.extend(more);
    let body = format!("token={token}&next=%2Fsql");
    served.send("POST", "/login", None, &headers, body.as_bytes())
}

fn cookie(answer: &Answer) -> String {
    answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

/// Publishes rows whose texts would be dangerous in a page, under a title that is, too.
fn publish_hostile(served: &Served) {
    let rows = format!(
        "country,year,value,label\nBGR,2020,1.5,\"{HOSTILE}\"\nBGR,2021,2.5,\"\"\"><img src=x>\"\nROU,2021,3,x\n"
    );
    served.provider.publish("/hostile.csv", &rows);
    let columns = [("country", "string"), ("year", "int32"), ("value", "float64"), ("label", "string")];
    let pipeline = snapshot_of(&served.provider.url("/hostile.csv"), &columns, 2)
        .replace("title = \"Test\"", &format!("title = \"Стойности {HOSTILE}\""))
        .replace("provider = \"Tests\"", &format!("provider = \"Provider {HOSTILE}\""))
        .replace("citation = \"Tests\"", &format!("citation = \"{HOSTILE}\""))
        .replace(
            "name = \"value\"\n",
            &format!("name = \"value\"\nunit = \"{HOSTILE}\"\ndescription = \"\\\"><b>{HOSTILE}\"\n"),
        );
    served.workshop.pipeline("demo.hostile", &format!("description = \"'\\\"{HOSTILE}\"\n{pipeline}"));
    served.workshop.run("demo.hostile");
}

/// Waits until the page knows of something.
pub(super) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn pages_are_complete_safe_and_in_two_languages() {
    let served = Served::start("");
    publish_hostile(&served);
    until("the catalogue knows the codes", || served.get("/api/search?q=bulgaria").text().contains("demo.hostile"));
    for target in
        ["/", "/?q=стойности", "/tables/demo.hostile", "/tables/demo.hostile/vintages", "/sql", "/about", "/operations"]
    {
        for (language, word) in [("en", "Catalogue"), ("bg", "Каталог")] {
            let and = if target.contains('?') { '&' } else { '?' };
            let target = format!("{target}{and}lang={language}");
            let answer = served.get_as(Some(&served.token), &target, &[BROWSER]).ok();
            let text = answer.text();
            assert!(text.contains(&format!("<html lang=\"{language}\"")) && text.contains(word), "{target}: {text}");
            assert!(answer.header("set-cookie").unwrap().starts_with(&format!("hambar_lang={language};")), "{target}");
            let policy = answer.header("content-security-policy").unwrap();
            assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
            // Else browsers would not say whose page a form comes from.
            assert_eq!(answer.header("referrer-policy"), Some("same-origin"), "{target}");
            // Nothing of the data, and nothing of our own, is a script or a style in the page itself.
            for inline in [HOSTILE, "<img src=x", " style=", " onclick=", "<style", "<b><script"] {
                assert!(!text.contains(inline), "{target}: {inline}: {text}");
            }
            // What a dataset says of itself to search engines is data, which no browser runs.
            let data = text.matches("<script type=\"application/ld+json\">").count();
            assert_eq!(data, usize::from(target.starts_with("/tables/demo.hostile?")), "{target}: {text}");
            let scripts = text.matches("<script").count() - data;
            assert_eq!(scripts, text.matches("<script type=\"module\" src=\"/assets/").count(), "{target}: {text}");
        }
    }
    let text = page(&served, "/tables/demo.hostile?profile=wait");
    for part in [
        "Стойности &lt;script&gt;",
        "<hb-chart data-query=",
        "data-x=\"year\"",
        "data-series=\"country\"",
        "<hb-map ",
        "data-codes=\"iso3\"",
        "Bulgaria",
        "CC0-1.0",
        "BGR <span class=\"count\">(2)</span>",
        "@misc{hambar:",
        "VERSION AS OF",
        "HAMBAR_TOKEN",
        "&lt;img src=x&gt;",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Languages: what was chosen, else what the browser says.
    let asked = |headers: &[(&str, &str)]| served.get_as(Some(&served.token), "/", headers).ok().text();
    assert!(asked(&[BROWSER, ("accept-language", "bg,en;q=0.5")]).contains("lang=\"bg\""));
    assert!(asked(&[BROWSER, ("accept-language", "bg"), ("cookie", "hambar_lang=en")]).contains("<html lang=\"en\""));
    assert!(asked(&[BROWSER, ("cookie", "hambar_theme=dark")]).contains("data-theme=\"dark\""));
    assert!(asked(&[BROWSER, ("cookie", "hambar_theme=\"><script>")]).contains("data-theme=\"auto\""));
}

#[test]
fn the_catalogue_is_searched_and_narrowed() {
    let served = Served::start("");
    publish_hostile(&served);
    let found = |query: &str| -> Vec<String> {
        let answer = served.get(&format!("/api/search?{query}")).ok().json();
        answer["hits"].as_array().unwrap().iter().map(|hit| hit["table"].as_str().unwrap().to_owned()).collect()
    };
    until("codes are found", || found("q=румъния") == ["demo.figures", "demo.hostile"]);
    assert_eq!(found("q=СТОЙН"), ["demo.hostile"]);
    assert_eq!(found("q=figures"), ["demo.figures"]);
    assert_eq!(found("q=secret"), ["closed.numbers"]);
    assert_eq!(found("country=RO"), ["demo.figures", "demo.hostile"]);
    assert_eq!(found("country=GR"), ["demo.figures"]);
    assert_eq!(found("topic=closed"), ["closed.numbers"]);
    assert_eq!(found("q=figures&topic=closed").len(), 0);
    assert_eq!(found("fresh=day").len(), 3);
    let answer = served.get("/api/search?q=rou&limit=1").ok().json();
    assert_eq!(answer["hits"][0]["kind"], "code", "{answer}");
    assert_eq!(answer["hits"][0]["url"], "/tables/demo.figures");
    assert_eq!((&answer["total"], answer["hits"].as_array().unwrap().len()), (&serde_json::json!(2), 1));
    assert_eq!(answer["facets"]["country"][0][0], "BG", "{answer}");
    served.get("/api/search?limit=0").fails(400, "query");
    let text = page(&served, "/?q=rou&country=RO");
    assert!(text.contains("<mark>ROU Romania</mark>") && text.contains("2 datasets"), "{text}");
    let catalogue = served.get("/api/catalogue").ok().json();
    let tables = catalogue["tables"].as_array().unwrap();
    let figures = tables.iter().find(|table| table["table"] == "demo.figures").unwrap();
    assert_eq!(figures["columns"][1]["name"], "country", "{figures}");
    assert_eq!(figures["columns"][1]["type"], "string", "{figures}");
}

#[test]
fn a_statement_is_answered_without_scripts() {
    let served = Served::start("");
    let headers = [BROWSER, ("content-type", "application/x-www-form-urlencoded")];
    let run = |body: &str| served.send("POST", "/sql", Some(&served.token), &headers, body.as_bytes());
    let text = run("q=SELECT+'%3Cscript%3E'+AS+%22%3Cb%3E%22,+id+FROM+demo.figures+ORDER+BY+id").ok().text();
    assert!(text.contains("<td>&lt;script&gt;</td><td class=\"num\">0</td>") && text.contains("&lt;b&gt;"), "{text}");
    assert!(!text.contains("<td><script>") && text.matches("<tr>").count() == 201, "{text}");
    assert!(text.contains("/api/sql.csv?q=SELECT") && text.contains("demo.figures</a>@"), "{text}");
    let failed = run("q=SELECT+nothing+FROM%0Ademo.figures");
    assert_eq!(failed.status, 400);
    assert!(failed.text().contains("role=\"alert\"") && failed.text().contains("nothing"), "{}", failed.text());
    assert!(page(&served, "/sql?q=SELECT 41 %2B 1 AS n&run=1").contains("<td class=\"num\">42</td>"));
    assert!(!page(&served, "/sql?q=SELECT 41 %2B 1 AS n").contains(">42<"), "a link alone runs nothing");
    served.becomes_idle();
}

#[test]
fn a_session_is_a_token_in_a_cookie_and_as_strong() {
    let prepare = |workshop: &Workshop| workshop.write("session.key", "thirty-two characters or some more\n");
    let mut served = Served::prepared("[server]\nsession_key = { file = \"session.key\" }\n", &[], prepare);
    let token = served.token("browser", "reader", "demo");
    let answer = log_in(&served, &token, &[("origin", &format!("http://{}", "test"))]);
    assert_eq!((answer.status, answer.header("location")), (303, Some("/sql")));
    let set = answer.header("set-cookie").unwrap().to_owned();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && !set.contains("Secure"), "{set}");
    assert!(log_in(&served, &token, &[("origin", "https://test")]).header("set-cookie").unwrap().contains("Secure"));
    let cookie = cookie(&answer);
    let session = [BROWSER, ("cookie", cookie.as_str())];
    let as_session = |target: &str| served.get_as(None, target, &session);
    let text = as_session("/").ok().text();
    assert!(text.contains("tests/browser") && text.contains("demo.figures") && !text.contains("closed"), "{text}");
    as_session("/api/tables").ok();
    // Programs of other sites cannot use it to change anything, and nothing is changed by a link.
    let sql = [("cookie", cookie.as_str()), ("content-type", "application/sql")];
    served.send("POST", "/api/sql", None, &sql, b"SELECT 1").fails(403, "denied");
    let own = [sql[0], sql[1], ("x-hambar", "1")];
    served.send("POST", "/api/sql", None, &own, b"SELECT 1").ok();
    let other = [own[0], own[1], own[2], ("origin", "http://evil.example")];
    served.send("POST", "/api/sql", None, &other, b"SELECT 1").fails(403, "denied");
    let form = [session[0], session[1], ("content-type", "application/x-www-form-urlencoded")];
    let post = |target: &str, body: &str| served.send("POST", target, None, &form, body.as_bytes());
    for wrong in ["", "csrf=", "csrf=AAAA", "q=SELECT+1"] {
        assert_eq!(post("/sql", wrong).status, 403, "{wrong}");
        assert_eq!(post("/logout", wrong).status, 403, "{wrong}");
    }
    let page = as_session("/sql").ok().text();
    let csrf = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(post("/sql", &format!("csrf={csrf}&q=SELECT+40%2B2+AS+n")).ok().text().contains(">42<"));
    let ended = post("/logout", &format!("csrf={csrf}"));
    assert_eq!(ended.status, 303);
    assert!(ended.header("set-cookie").unwrap().contains("Max-Age=0"));
    // Another server over the same store that has the key takes the cookie; none does once the token is revoked.
    assert!(served.stop().success());
    let other = Served::over_again(served);
    other.get_as(None, "/", &session).ok();
    other.workshop.hambar(&["members", "revoke", "tests/browser"]).ok();
    until("the session ends with its token", || other.get_as(None, "/", &session).status == 303);
    other.get_as(None, "/api/tables", &session).fails(401, "denied");
    let mut other = other;
    assert!(other.stop().success());
    let rows = other.workshop.rows("SELECT member, outcome, protocol FROM system.audit WHERE event = 'login'");
    assert_eq!(rows, ["tests/browser,accepted,web", "tests/browser,accepted,web"]);
    assert!(!other.log().contains(&token) && !other.log().contains(&cookie), "{}", other.log());
}

#[test]
fn logging_in_is_refused_like_every_other_proof() {
    let mut served = Served::start("");
    let answer = log_in(&served, "hbr_wrong", &[]);
    assert_eq!(answer.status, 401);
    assert!(answer.text().contains("not valid") && answer.header("set-cookie").is_none(), "{}", answer.text());
    let site = log_in(&served, &served.token, &[("origin", "http://evil.example")]);
    assert_eq!((site.status, site.header("set-cookie")), (403, None));
    let statuses: Vec<u16> = (0..25).map(|_| log_in(&served, "hbr_guess", &[]).status).collect();
    assert_eq!((statuses[0], statuses[24]), (401, 429), "{statuses:?}");
    // Whoever has a token is let in all the same.
    assert_eq!(log_in(&served, &served.token, &[]).status, 303);
    for forged in ["x", "a.1.b", "tests.99999999999.AAAA", "%00"] {
        let cookie = format!("hambar_session={forged}");
        assert_eq!(served.get_as(None, "/", &[BROWSER, ("cookie", &cookie)]).status, 303, "{forged}");
    }
    assert!(served.stop().success());
    let refused =
        served.workshop.value("SELECT count(*) FROM system.audit WHERE event = 'login' AND outcome = 'refused'");
    assert_eq!(refused, "20");
}

#[test]
fn pages_show_nobody_more_than_the_interface_does() {
    let served = Served::start("");
    // Nobody without a token.
    for target in ["/", "/tables/demo.figures", "/sql", "/operations", "/tables/demo.figures/vintages"] {
        let answer = served.get_as(None, target, &[BROWSER]);
        assert_eq!(answer.status, 303, "{target}");
        assert!(answer.header("location").unwrap().starts_with("/login?next=%2F"), "{target}");
        assert_eq!(served.get_as(Some("hbr_wrong"), target, &[BROWSER]).status, 303, "{target}");
    }
    for open in ["/login", "/about"] {
        served.get_as(None, open, &[BROWSER]).ok();
    }
    for target in ["/api/search", "/api/catalogue", "/api/saved"] {
        served.get_as(None, target, &[]).fails(401, "denied");
    }
    for (role, is_operator) in [("reader", false), ("curator", false), ("operator", true), ("administrator", true)] {
        let token = served.token(role, role, "demo");
        let get = |target: &str| served.get_as(Some(&token), target, &[BROWSER]);
        assert_eq!(get("/operations").status, if is_operator { 200 } else { 403 }, "{role}");
        assert_eq!(get("/").ok().text().contains("href=\"/operations\""), is_operator, "{role}");
        for target in ["/", "/api/search?q=secret", "/api/search", "/api/catalogue", "/sql"] {
            assert!(!get(target).ok().text().contains("closed"), "{role} {target}");
        }
        get("/tables/demo.figures").ok();
        // A hidden table and a missing one look the same.
        for way in ["", "/vintages", "?profile=wait"] {
            let hidden = get(&format!("/tables/closed.numbers{way}"));
            let missing = get(&format!("/tables/closed.nothing{way}"));
            assert_eq!((hidden.status, missing.status), (404, 404), "{role} {way}");
            assert_eq!(hidden.text().replace("closed.numbers", "closed.nothing"), missing.text(), "{role} {way}");
        }
    }
    let open = Served::with("", &["--anonymous"]);
    let text = open.get_as(None, "/", &[BROWSER]).ok().text();
    assert!(text.contains("demo.figures") && !text.contains("closed"), "{text}");
    let text = open.get_as(None, "/tables/demo.figures", &[BROWSER]).ok().text();
    assert!(!text.contains("HAMBAR_TOKEN"), "nobody needs a token for it: {text}");
    let form = [BROWSER, ("content-type", "application/x-www-form-urlencoded")];
    open.send("POST", "/sql", None, &form, b"q=SELECT+1").ok();
    open.get_as(None, "/api/saved", &[]).fails(403, "denied");
}

#[test]
fn errors_are_pages_for_browsers_and_problems_for_programs() {
    let served = Served::start("");
    let lost = served.get_as(Some(&served.token), "/nowhere?lang=bg", &[BROWSER]);
    assert_eq!(lost.status, 404);
    assert!(lost.text().contains("Няма такава страница") && lost.text().contains("href=\"/\""), "{}", lost.text());
    served.get_as(Some(&served.token), "/nowhere", &[]).fails(404, "query");
    served.get_as(Some(&served.token), "/api/nowhere", &[BROWSER]).fails(404, "query");
    served.get_as(None, "/assets/nothing.js", &[]).fails(404, "query");
    served.send("POST", "/nowhere", Some(&served.token), &[BROWSER], b"").fails(404, "query");
    let head = served.send("HEAD", "/tables/demo.figures", Some(&served.token), &[BROWSER], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    let tag = served.get_as(Some(&served.token), "/about", &[BROWSER]).ok().header("etag").unwrap().to_owned();
    let again = served.get_as(Some(&served.token), "/about", &[BROWSER, ("if-none-match", &tag)]);
    assert_eq!((again.status, again.body.len()), (304, 0));
    let other = served.get_as(Some(&served.token), "/about?lang=bg", &[BROWSER, ("if-none-match", &tag)]);
    assert_eq!(other.status, 200);
}

#[test]
fn what_is_pasted_works() {
    let served = Served::start("");
    let text = page(&served, "/tables/demo.figures").replace("&quot;", "\"").replace("&amp;", "&").replace("&gt;", ">");
    let snippet = |name: &str| {
        let after = text.split(&format!("<h3>{name}</h3>")).nth(1).unwrap_or_else(|| panic!("{name}: {text}"));
        after
            .split("<code>")
            .nth(1)
            .unwrap()
            .split("</code>")
            .next()
            .unwrap()
            .replace("http://test", &format!("http://{}", served.address))
    };
    assert_eq!(served.sql(&snippet("SQL")).ok().json()["row_count"], 100);
    let shell = |script: &str| {
        let mut command = std::process::Command::new("bash");
        command.args(["-o", "pipefail", "-c", script]).env("HAMBAR_TOKEN", &served.token);
        Ran::of(&mut command).ok()
    };
    let csv = shell(&snippet("curl"));
    assert_eq!(csv.lines().count() as u64, super::ROWS + 1, "{csv}");
    let python = setting("HAMBAR_TEST_PYTHON").unwrap_or_else(|| "python3".to_owned());
    // The same statement as on DuckDB's own command line, which is not a Python package.
    let duckdb = snippet("DuckDB");
    let call = duckdb.split("duckdb -c \"").nth(1).unwrap().trim_end_matches('"');
    let probe = std::process::Command::new(&python).args(["-c", "import duckdb"]).output();
    if probe.is_ok_and(|output| output.status.success()) {
        let read = format!(
            "import duckdb; print(duckdb.connect().execute(\"SELECT count(*) FROM ({call})\").fetchall()[0][0])"
        );
        let piped = duckdb.split("duckdb -c").next().unwrap();
        let said = shell(&format!("{piped} {python} -c '{}'", read.replace('\'', "'\\''")));
        assert_eq!(said.trim(), super::ROWS.to_string());
    } else {
        assert_ne!(setting("CI").as_deref(), Some("true"), "`{python}` lacks duckdb");
        println!("skipped: `{python}` lacks duckdb");
    }
}
