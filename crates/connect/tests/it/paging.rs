//! Every paging style: the happy path, loops, missing pages, totals that change, pages that repeat, empty last pages.

use hambar_core::Checkpoint;

use crate::memory::{Answer, Memory, build, check, run};

const P: &str = "kind = \"rest_json\"\nurl = \"https://p.org/x\"\nrecord_path = \"/r\"\n";

fn source(more: &str) -> String {
    format!("{P}{more}")
}

#[tokio::test]
async fn one_answer() {
    let memory = Memory::new().json("https://p.org/x", r#"{"r":[1,2]}"#);
    check(P, &memory, "page 2 records: {\"r\":[1,2]}\nend: one answer, 2 records in 1 pages").await;
    let memory = Memory::new().json("https://p.org/x", r#"{"q":[1,2]}"#);
    check(P, &memory, "data: answer of `https://p.org/x`: no records at `/r` (`record_path`)").await;
    let memory = Memory::new().json("https://p.org/x", r#"{"r":[1,"#);
    check(P, &memory, "data: answer of `https://p.org/x`: no JSON: EOF while parsing a value at line 1 column 8").await;
}

#[tokio::test]
async fn page_numbers() {
    let style = source("[pagination]\nstyle = \"page_number\"\n[complete]\ntotal = \"/t\"\npages = \"/n\"");
    let page = |number: u64, body: &str| (format!("https://p.org/x?page={number}"), body.to_owned());
    for (pages, expected) in [
        (
            vec![page(1, r#"{"t":3,"n":2,"r":[1,2]}"#), page(2, r#"{"t":3,"n":2,"r":[3]}"#)],
            "page 2 records: {\"t\":3,\"n\":2,\"r\":[1,2]}\npage 1 records: {\"t\":3,\"n\":2,\"r\":[3]}\nend: total 3 of 3 in 2 pages",
        ),
        (
            vec![page(1, r#"{"t":3,"n":2,"r":[1,2]}"#), page(2, r#"{"t":4,"n":2,"r":[3]}"#)],
            "page 2 records: {\"t\":3,\"n\":2,\"r\":[1,2]}\nincomplete: `https://p.org/x?page=2` is incomplete: 3 records in all on the first page announced, 4 records in all on a later one: the data changed while it was read received",
        ),
        (
            vec![page(1, r#"{"t":4,"n":2,"r":[1,2]}"#), page(2, r#"{"t":4,"n":2,"r":[1,2]}"#)],
            "page 2 records: {\"t\":4,\"n\":2,\"r\":[1,2]}\nincomplete: loop",
        ),
        (
            vec![page(1, r#"{"t":5,"n":3,"r":[1,2]}"#), page(2, r#"{"t":5,"n":3,"r":[]}"#)],
            "page 2 records: {\"t\":5,\"n\":3,\"r\":[1,2]}\nincomplete: `https://p.org/x?page=2` is incomplete: 3 pages announced, nothing on page 2 received",
        ),
        (
            vec![page(1, r#"{"t":4,"n":2,"r":[1,2]}"#), page(2, r#"{"t":4,"n":2,"r":[3]}"#)],
            "page 2 records: {\"t\":4,\"n\":2,\"r\":[1,2]}\nincomplete: `https://p.org/x` is incomplete: 4 records announced, 3 records in 2 pages received",
        ),
        (vec![page(1, r#"{"t":0,"n":0,"r":null}"#)], "end: total 0 of 0 in 1 pages"),
        (
            vec![page(1, r#"{"n":1,"r":[1]}"#)],
            "data: answer of `https://p.org/x?page=1`: no number at `/t`, where completeness is announced",
        ),
        (
            vec![page(1, r#"{"t":4,"n":2,"r":[1,2]}"#)],
            "page 2 records: {\"t\":4,\"n\":2,\"r\":[1,2]}\nrefused: GET `https://p.org/x?page=2`: no recorded exchange answers GET `https://p.org/x?page=2`",
        ),
    ] {
        let memory = Memory::new();
        for (url, body) in &pages {
            memory.json(url, body);
        }
        let built = build(&style, "kind = \"json\"");
        let found = run(built.as_ref(), &memory, &mut Checkpoint::default()).await;
        let repeats =
            "incomplete: `https://p.org/x?page=2`: page 2 repeats: its 2 records are those of an earlier page";
        assert_eq!(found.trim_end(), expected.replace("incomplete: loop", repeats));
    }
}

#[tokio::test]
async fn page_numbers_without_totals_end_with_a_short_or_empty_page() {
    let sized =
        source("[pagination]\nstyle = \"page_number\"\nsize_parameter = \"s\"\nsize = 2\nfirst = 0\npage = \"/p\"");
    let memory = Memory::new()
        .json("https://p.org/x?page=0&s=2", r#"{"p":0,"r":[1,2]}"#)
        .json("https://p.org/x?page=1&s=2", r#"{"p":1,"r":[3]}"#);
    check(&sized, &memory, "page 2 records: {\"p\":0,\"r\":[1,2]}\npage 1 records: {\"p\":1,\"r\":[3]}\nend: short last page (1 of 2), 3 records in 2 pages").await;
    let clamped = Memory::new()
        .json("https://p.org/x?page=0&s=2", r#"{"p":0,"r":[1,2]}"#)
        .json("https://p.org/x?page=1&s=2", r#"{"p":0,"r":[1,2], "later": 1}"#);
    check(&sized, &clamped, "page 2 records: {\"p\":0,\"r\":[1,2]}\nincomplete: `https://p.org/x?page=1&s=2`: page 2 repeats: its 2 records are those of an earlier page").await;
    let unsized_pages = source("[pagination]\nstyle = \"page_number\"");
    let memory =
        Memory::new().json("https://p.org/x?page=1", r#"{"r":[1]}"#).json("https://p.org/x?page=2", r#"{"r":[]}"#);
    check(&unsized_pages, &memory, "page 1 records: {\"r\":[1]}\nend: empty last page, 1 records in 2 pages").await;
    let bounded = source("pages_max = 1\n[pagination]\nstyle = \"page_number\"");
    check(
        &bounded,
        &memory,
        "page 1 records: {\"r\":[1]}\nlimit: `https://p.org/x`: pages of a slice (`source.pages_max`) of 1 reached",
    )
    .await;
}

#[tokio::test]
async fn offsets_follow_what_came_and_know_their_reach() {
    let style = source(
        "[pagination]\nstyle = \"offset_limit\"\nlimit = 3\nreach_max = 5\n[complete]\ntotal_header = \"X-Total-Count\"",
    );
    let page = |body: &str, total: &str| Answer::new(body).header("x-total-count", total);
    // The server clamps the limit of 3 to 2.
    let memory = Memory::new()
        .on("https://p.org/x?offset=0&limit=3", page(r#"{"r":[1,2]}"#, "3"))
        .on("https://p.org/x?offset=2&limit=3", page(r#"{"r":[3]}"#, "3"));
    check(&style, &memory, "page 2 records: {\"r\":[1,2]}\npage 1 records: {\"r\":[3]}\nend: total 3 of 3 in 2 pages")
        .await;
    let too_many = Memory::new().on("https://p.org/x?offset=0&limit=3", page(r#"{"r":[1,2]}"#, "6"));
    check(&style, &too_many, "limit: `https://p.org/x?offset=0&limit=3`: reach of the provider's offset of 5 reached")
        .await;
    let missing = Memory::new()
        .on("https://p.org/x?offset=0&limit=3", page(r#"{"r":[1,2]}"#, "4"))
        .on("https://p.org/x?offset=2&limit=3", page(r#"{"r":[]}"#, "4"));
    check(&style, &missing, "page 2 records: {\"r\":[1,2]}\nincomplete: `https://p.org/x` is incomplete: 4 records announced, 2 records in 2 pages received").await;
    let unannounced = Memory::new().on("https://p.org/x?offset=0&limit=3", Answer::new(r#"{"r":[1,2]}"#));
    check(&style, &unannounced, "data: answer of `https://p.org/x?offset=0&limit=3`: no number in the header `X-Total-Count`, where completeness is announced").await;
    let no_total = source("[pagination]\nstyle = \"offset_limit\"\nlimit = 2\nfirst = 1\nreach_max = 3");
    let memory = Memory::new().json("https://p.org/x?offset=1&limit=2", r#"{"r":[1,2]}"#);
    check(&no_total, &memory, "limit: `https://p.org/x?offset=1&limit=2`: reach of the provider's offset of 4 reached")
        .await;
}

#[tokio::test]
async fn cursors_in_bodies() {
    let style = source("[pagination]\nstyle = \"cursor_body\"\nparameter = \"c\"\ncursor = \"/next\"\nfirst = \"*\"");
    let memory = Memory::new()
        .json("https://p.org/x?c=*", r#"{"next":"a","r":[1]}"#)
        .json("https://p.org/x?c=a", r#"{"next":null,"r":[2]}"#);
    check(&style, &memory, "page 1 records: {\"next\":\"a\",\"r\":[1]}\npage 1 records: {\"next\":null,\"r\":[2]}\nend: no further cursor, 2 records in 2 pages").await;
    let circle = Memory::new()
        .json("https://p.org/x?c=*", r#"{"next":"a","r":[1]}"#)
        .json("https://p.org/x?c=a", r#"{"next":"b","r":[2]}"#)
        .json("https://p.org/x?c=b", r#"{"next":"a","r":[3]}"#);
    check(&style, &circle, "page 1 records: {\"next\":\"a\",\"r\":[1]}\npage 1 records: {\"next\":\"b\",\"r\":[2]}\nincomplete: `https://p.org/x?c=b`: page 3 repeats: cursor `a`").await;
    let lasting = source(
        "[pagination]\nstyle = \"cursor_body\"\nparameter = \"c\"\ncursor = \"/next\"\nend = \"empty_page\"\n[complete]\ntotal = \"/t\"",
    );
    let memory = Memory::new()
        .json("https://p.org/x", r#"{"t":2,"next":"a","r":[1]}"#)
        .json("https://p.org/x?c=a", r#"{"t":2,"next":"a","r":[2]}"#);
    check(&lasting, &memory, "page 1 records: {\"t\":2,\"next\":\"a\",\"r\":[1]}\npage 1 records: {\"t\":2,\"next\":\"a\",\"r\":[2]}\nend: total 2 of 2 in 2 pages").await;
}

#[tokio::test]
async fn cursors_and_tokens_in_post_bodies() {
    let style = "kind = \"rest_json\"\nurl = \"https://p.org/x\"\nmethod = \"POST\"\nrecord_path = \"/r\"\nbody = { q = \"all\" }\n[pagination]\nstyle = \"cursor_body\"\nparameter = \"/page/token\"\ncursor = \"/nextToken\"";
    let memory = Memory::new()
        .json("POST https://p.org/x {\"q\":\"all\"}", r#"{"nextToken":"t","r":[1]}"#)
        .json("POST https://p.org/x {\"page\":{\"token\":\"t\"},\"q\":\"all\"}", r#"{"r":[2]}"#);
    check(style, &memory, "page 1 records: {\"nextToken\":\"t\",\"r\":[1]}\npage 1 records: {\"r\":[2]}\nend: no further cursor, 2 records in 2 pages").await;
}

#[tokio::test]
async fn cursors_in_headers() {
    for (key, second) in
        [("parameter = \"after\"", "https://p.org/x?after=k"), ("request_header = \"X-After\"", "https://p.org/x")]
    {
        let style = source(&format!("[pagination]\nstyle = \"cursor_header\"\nheader = \"X-Next\"\n{key}"));
        let memory = Memory::new()
            .on("https://p.org/x", Answer::new(r#"{"r":[1]}"#).header("x-next", "k"))
            .on(second, Answer::new(r#"{"r":[2]}"#));
        check(
            &style,
            &memory,
            "page 1 records: {\"r\":[1]}\npage 1 records: {\"r\":[2]}\nend: no further cursor, 2 records in 2 pages",
        )
        .await;
    }
}

#[tokio::test]
async fn next_links() {
    let two = "page 1 records: {\"r\":[1]}\npage 1 records: {\"r\":[2]}\n";
    let header = source("[pagination]\nstyle = \"link_header\"");
    let memory = Memory::new()
        .on("https://p.org/x", Answer::new(r#"{"r":[1]}"#).header("link", "<http://p.org/x?p=2>; rel=\"next\""))
        .on("https://p.org/x?p=2", Answer::new(r#"{"r":[2]}"#).header("link", "<https://p.org/x>; rel=\"prev\""));
    check(&header, &memory, &format!("{two}end: no `rel=next` in the Link header, 2 records in 2 pages")).await;
    let body = source("[pagination]\nstyle = \"next_link_body\"\nnext = \"/links/next\"");
    for (second, expected) in [
        (r#"{"r":[2]}"#, "page 1 records: {\"r\":[2]}\nend: no next link in the body, 2 records in 2 pages"),
        (
            r#"{"r":[2],"links":{"next":"https://p.org/x"}}"#,
            "incomplete: `https://p.org/x?p=2`: page 2 repeats: next link `https://p.org/x`",
        ),
        (
            r#"{"r":[2],"links":{"next":"https://evil.org/x"}}"#,
            "data: answer of `https://p.org/x?p=2`: next link `https://evil.org/x` leads to another host",
        ),
    ] {
        let memory = Memory::new()
            .json("https://p.org/x", r#"{"r":[1],"links":{"next":"?p=2"}}"#)
            .json("https://p.org/x?p=2", second);
        check(&body, &memory, &format!("page 1 records: {{\"r\":[1],\"links\":{{\"next\":\"?p=2\"}}}}\n{expected}"))
            .await;
    }
    let odata =
        "kind = \"rest_json\"\nurl = \"https://p.org/x\"\nrecord_path = \"/value\"\n[pagination]\nstyle = \"odata\"";
    let memory = Memory::new()
        .json("https://p.org/x", r#"{"@odata.count":2,"value":[1],"@odata.nextLink":"https://p.org/x?$skip=1"}"#)
        .json("https://p.org/x?$skip=1", r#"{"value":[2]}"#);
    check(odata, &memory, "page 1 records: {\"@odata.count\":2,\"value\":[1],\"@odata.nextLink\":\"https://p.o\npage 1 records: {\"value\":[2]}\nend: total 2 of 2 in 2 pages").await;
}

#[tokio::test]
async fn keysets() {
    let style = source(
        "[pagination]\nstyle = \"keyset\"\nparameter = \"where\"\nvalue = \"id > {key}\"\nfirst = \"id > 0\"\nkey = \"/id\"\nsize = 1",
    );
    let memory = Memory::new()
        .json("https://p.org/x?where=id+%3E+0", r#"{"r":[{"id":7}]}"#)
        .json("https://p.org/x?where=id+%3E+7", r#"{"r":[]}"#);
    check(&style, &memory, "page 1 records: {\"r\":[{\"id\":7}]}\nend: empty last page, 1 records in 2 pages").await;
    let stuck = Memory::new()
        .json("https://p.org/x?where=id+%3E+0", r#"{"r":[{"id":7}]}"#)
        .json("https://p.org/x?where=id+%3E+7", r#"{"r":[{"id":7,"x":1}]}"#);
    check(&style, &stuck, "page 1 records: {\"r\":[{\"id\":7}]}\nincomplete: `https://p.org/x?where=id+%3E+7`: page 2 repeats: key `7` does not come after the last page's").await;
    let keyless = Memory::new().json("https://p.org/x?where=id+%3E+0", r#"{"r":[{"x":7}]}"#);
    check(
        &style,
        &keyless,
        "data: answer of `https://p.org/x?where=id+%3E+0`: the last record has no key at `pagination.key`",
    )
    .await;
}

#[tokio::test]
async fn resumption_tokens_replace_the_other_parameters() {
    let style = source(
        "query = { verb = \"List\", set = \"a\" }\n[pagination]\nstyle = \"resumption_token\"\ntoken = \"/token\"\nkeep = [\"verb\"]",
    );
    let memory = Memory::new()
        .json("https://p.org/x?set=a&verb=List", r#"{"token":"t1","r":[1]}"#)
        .json("https://p.org/x?verb=List&resumptionToken=t1", r#"{"token":"","r":[2]}"#);
    check(&style, &memory, "page 1 records: {\"token\":\"t1\",\"r\":[1]}\npage 1 records: {\"token\":\"\",\"r\":[2]}\nend: no further cursor, 2 records in 2 pages").await;
}

const WINDOWS: &str = "[pagination]\nstyle = \"time_window\"\nfrom_parameter = \"a\"\nto_parameter = \"b\"\nfrom = \"2024-03-01T00:00:00Z\"\nformat = \"%d\"\nresolution = \"day\"\nrecords_max = 2\ntoo_large_status = [413]\n";

#[tokio::test]
async fn windows_are_halved_until_they_fit() {
    let counted = source(&format!("{WINDOWS}[count]\nurl = \"https://p.org/count\"\ntotal = \"/n\""));
    let memory = Memory::new()
        .json("https://p.org/count?a=01&b=02", r#"{"n":3}"#)
        .json("https://p.org/count?a=01&b=01", r#"{"n":1}"#)
        .json("https://p.org/count?a=02&b=02", r#"{"n":"2"}"#)
        .json("https://p.org/x?a=01&b=01", r#"{"r":[1]}"#)
        .json("https://p.org/x?a=02&b=02", r#"{"r":[2,3]}"#);
    check(
        &counted,
        &memory,
        "page 1 records: {\"r\":[1]}\npage 2 records: {\"r\":[2,3]}\nend: total 3 of 3 in 2 pages",
    )
    .await;
    let uncounted = source(WINDOWS);
    let memory = Memory::new()
        .on("https://p.org/x?a=01&b=02", Answer::new("too large").status(413))
        .json("https://p.org/x?a=01&b=01", r#"{"r":[1]}"#)
        .json("https://p.org/x?a=02&b=02", r#"{"r":[2,3]}"#);
    // Two records are as many as an answer may have: it could have been cut.
    check(
        &uncounted,
        &memory,
        "page 1 records: {\"r\":[1]}\nlimit: `https://p.org/x`: records of the smallest window of 2 reached",
    )
    .await;
    let short = Memory::new()
        .json("https://p.org/count?a=01&b=02", r#"{"n":2}"#)
        .json("https://p.org/x?a=01&b=02", r#"{"r":[1]}"#);
    check(
        &counted,
        &short,
        "incomplete: `https://p.org/x?a=01&b=02` is incomplete: 2 records announced, 1 records received",
    )
    .await;
}
