//! The SDMX connector against scripted and recorded services: addresses by version and dialect, refusals and splitting,
//! asynchronous answers, conditional requests.

use std::sync::Arc;

use hambar_connect::sdmx::{Dialects, SdmxSource, SdmxSpec};
use hambar_connect::{Source, conformance};
use hambar_core::Checkpoint;

use crate::memory::{Answer, Memory, Secrets, job, run};

const ROOT: &str = "https://p.org/rest";
/// Two dimensions, `FREQ` with one code and `GEO` with three.
const STRUCTURE: &str = r#"<m:Structure xmlns:m="m"><m:Structures>
  <Codelists><Codelist agencyID="X" id="CL_FREQ" version="1.0"><Code id="A"/></Codelist>
    <Codelist agencyID="X" id="CL_GEO" version="1.0"><Code id="BG"><Name xml:lang="en">Bulgaria</Name><Name xml:lang="bg">България</Name></Code>
      <Code id="DE"/><Code id="FR"/></Codelist></Codelists>
  <DataStructures><DataStructure agencyID="X" id="D" version="1.0"><DataStructureComponents><DimensionList>
    <Dimension id="GEO" position="2"><LocalRepresentation><Enumeration><Ref agencyID="X" id="CL_GEO" version="1.0"/></Enumeration></LocalRepresentation></Dimension>
    <Dimension id="FREQ" position="1"><LocalRepresentation><Enumeration><Ref agencyID="X" id="CL_FREQ" version="1.0"/></Enumeration></LocalRepresentation></Dimension>
    <TimeDimension id="TIME_PERIOD"/></DimensionList></DataStructureComponents></DataStructure></DataStructures></m:Structures></m:Structure>"#;
const TOO_LARGE: &str = r#"<m:GenericData xmlns:m="m" xmlns:f="f" xmlns:c="c"><f:Footer><f:Message code="413" severity="Infomation">
  <c:Text>Query size exceeds maximum limit</c:Text></f:Message></f:Footer></m:GenericData>"#;

/// A source of the dialects that come with the program and of `test`, which waits for nothing.
fn source(section: &str) -> Arc<dyn Source> {
    let file = format!(
        "{}\n[dialects.test]\ntitle = \"Test\"\nendpoint = \"{ROOT}\"\npoll_seconds = 0\nupdated_after = true\n\
        async_status = \"{ROOT}/status/{{key}}\"\nasync_data = \"{ROOT}/made/{{key}}\"\n\
        [dialects.available]\ntitle = \"Test\"\nendpoint = \"{ROOT}\"\navailability = true",
        include_str!("../../../../config/dialects.toml")
    );
    let spec: SdmxSpec = toml::from_str(section).unwrap();
    Arc::new(SdmxSource::new(spec, &Dialects::parse(&file).unwrap(), &Secrets, job("kind = \"sdmx_csv\"")).unwrap())
}

/// Runs once from the start; compares what happened and what was asked.
async fn check(section: &str, memory: &Arc<Memory>, events: &str, requests: &[&str]) {
    let found = run(source(section).as_ref(), memory, &mut Checkpoint::default()).await;
    assert_eq!(found.trim_end(), events, "{:#?}", memory.requests());
    assert_eq!(memory.requests(), requests.iter().map(|url| format!("GET {url}")).collect::<Vec<_>>());
}

fn end(pages: u32) -> String {
    format!("end: 0 of {pages} answers with content length, each message read to its end")
}

#[tokio::test]
async fn addresses_follow_version_and_dialect() {
    let cases = [
        (
            "dialect = \"ecb\"\nflow = { agency = \"ECB\", id = \"EXR\", version = \"1.0\" }\nkey = \"M.USD+GBP.EUR.SP00.A\"\nstart_period = \"2020\"\nend_period = \"2021-06\"",
            "https://data-api.ecb.europa.eu/service/data/ECB,EXR,1.0/M.USD+GBP.EUR.SP00.A?startPeriod=2020&endPeriod=2021-06",
        ),
        (
            "dialect = \"eurostat\"\nflow = { id = \"nama_10_gdp\" }",
            "https://ec.europa.eu/eurostat/api/dissemination/sdmx/2.1/data/nama_10_gdp/all?format=SDMX-CSV",
        ),
        (
            "dialect = \"oecd\"\nflow = { agency = \"OECD.SDD.NAD\", id = \"DSD_NAAG@DF_NAAG\", version = \"1.0\" }",
            "https://sdmx.oecd.org/public/rest/data/OECD.SDD.NAD,DSD_NAAG@DF_NAAG,1.0/all?format=csvfile",
        ),
        (
            "dialect = \"worldbank\"\nflow = { agency = \"WB\", id = \"WDI\" }\nkey = \"A.SP_POP_TOTL.BGR\"",
            "https://api.worldbank.org/v2/sdmx/rest/data/WB,WDI/A.SP_POP_TOTL.BGR/",
        ),
        (
            "dialect = \"imf\"\nflow = { agency = \"IMF.RES\", id = \"WEO\" }\nfilters = { COUNTRY = [\"BGR\", \"ROU\"] }",
            "https://api.imf.org/external/sdmx/3.0/data/dataflow/IMF.RES/WEO/+/*?dimensionAtObservation=TIME_PERIOD&attributes=dsd&measures=all&c%5BCOUNTRY%5D=BGR,ROU",
        ),
        (
            "endpoint = \"https://p.org/rest/\"\nresource = \"codelist\"\nflow = { agency = \"SDMX\", id = \"CL_FREQ\" }",
            "https://p.org/rest/codelist/SDMX/CL_FREQ/latest",
        ),
    ];
    for (section, url) in cases {
        let memory = Memory::new().on(url, Answer::new("DATAFLOW,A\nx,1\n"));
        check(section, &memory, &format!("page DATAFLOW,A x,1\n{}", end(1)), &[url]).await;
    }
}

#[tokio::test]
async fn recorded_services_are_read() {
    let istat = "dialect = \"istat\"\nflow = { id = \"47_850\" }\nkey = \"A.001001+001002.AUTP.ALL.ALL.1\"";
    let imf = "dialect = \"imf\"\nflow = { agency = \"IMF.STA\", id = \"GFS_SOO\" }\nkey = \"*.S13.G2M.G23_T.POGDP_PT.A\"\n\
        start_period = \"1972-A1\"\nend_period = \"1976-A1\"";
    let codes = "dialect = \"imf\"\nresource = \"codelist\"\nflow = { agency = \"IMF\", id = \"CL_COUNTRY\" }";
    for (folder, section) in
        [("sdmx/recorded-nsi-ws", istat), ("sdmx/imf-sdmx3-recorded", imf), ("sdmx/imf-sdmx3-recorded", codes)]
    {
        let Some(memory) = Memory::recorded(folder) else { return };
        let found = conformance::check(source(section).as_ref(), &memory.fetcher()).await.unwrap();
        assert_eq!((found.pages.len(), found.unchanged), (1, vec![Some("sha256".to_owned())]), "{section}");
    }
    let Some(memory) = Memory::recorded("sdmx/imf-sdmx3-recorded") else { return };
    let missing = "dialect = \"imf\"\nresource = \"dataflow\"\nflow = { id = \"not_a_real_database\" }";
    let found = run(source(missing).as_ref(), &memory, &mut Checkpoint::default()).await;
    assert_eq!(found, "refused: `https://api.imf.org/external/sdmx/3.0` reports no results: 204\n");
}

#[tokio::test]
async fn a_query_that_is_too_large_is_split_until_it_is_not() {
    let data = |key: &str| format!("{ROOT}/data/X,F,1.0/{key}");
    let structure = format!("{ROOT}/dataflow/X/F/1.0?references=descendants");
    let section = "dialect = \"test\"\nflow = { agency = \"X\", id = \"F\", version = \"1.0\" }";
    let nothing =
        r#"<m:Error xmlns:m="m"><m:ErrorMessage code="100"><Text>No results found</Text></m:ErrorMessage></m:Error>"#;
    let memory = Memory::new()
        .on(&data("all"), Answer::new(TOO_LARGE))
        .on(&structure, Answer::new(STRUCTURE))
        .on(&data("BG."), Answer::new("DATAFLOW,GEO\nx,BG\n"))
        .on(&data("DE+FR."), Answer::new("too large").status(413))
        .on(&data("DE."), Answer::new(nothing).status(404))
        .on(&data("FR."), Answer::new("DATAFLOW,GEO\nx,FR\n"));
    let expected =
        format!("page DATAFLOW,GEO x,BG\npage DATAFLOW,GEO x,FR\n{}, split into 3 parts of which 1 are empty", end(2));
    let asked = [&data("all"), &structure, &data("BG."), &data("DE+FR."), &data("DE."), &data("FR.")];
    check(section, &memory, &expected, &asked.map(String::as_str)).await;
    let never = format!("{section}\nsplit = {{ mode = \"never\" }}");
    let refused =
        format!("refused: `{ROOT}` reports too large: Query size exceeds maximum limit (`split.mode` is `never`)");
    let memory = Memory::new().on(&data("all"), Answer::new(TOO_LARGE));
    check(&never, &memory, &refused, &[&data("all")]).await;
    let year = |key: &str| format!("{}?startPeriod=2000&endPeriod=2000", data(key));
    let memory = Memory::new()
        .on(&year("all"), Answer::new(TOO_LARGE))
        .on(&structure, Answer::new(STRUCTURE))
        .on(&year("BG."), Answer::new(TOO_LARGE));
    let refused = format!(
        "refused: `{ROOT}` reports too large: Query size exceeds maximum limit (no split is left: `X:F(1.0), GEO BG, 2000..2000` is one series in one year)"
    );
    let one_year = format!("{section}\nstart_period = \"2000\"\nend_period = \"2000\"");
    check(&one_year, &memory, &refused, &[&year("all"), &structure, &year("BG.")]).await;
    // Without periods, one series is cut between open ranges of years.
    let part = |range: &str| format!("{}?{range}", data("BG."));
    let memory = Memory::new()
        .on(&data("all"), Answer::new(TOO_LARGE))
        .on(&structure, Answer::new(STRUCTURE))
        .on(&data("BG."), Answer::new(TOO_LARGE))
        .on(&part("endPeriod=1975"), Answer::new(nothing).status(404))
        .on(&part("startPeriod=1976"), Answer::new("DATAFLOW,GEO\nx,BG\n"))
        .on(&data("DE+FR."), Answer::new("DATAFLOW,GEO\nx,DE\nx,FR\n"));
    let expected = format!(
        "page DATAFLOW,GEO x,BG\npage DATAFLOW,GEO x,DE x,FR\n{}, split into 3 parts of which 1 are empty",
        end(2)
    );
    let asked =
        [&data("all"), &structure, &data("BG."), &part("endPeriod=1975"), &part("startPeriod=1976"), &data("DE+FR.")];
    check(section, &memory, &expected, &asked.map(String::as_str)).await;
    let few = format!("{section}\nsplit = {{ parts_max = 1 }}");
    let memory = Memory::new().on(&data("all"), Answer::new(TOO_LARGE)).on(&structure, Answer::new(STRUCTURE));
    let limited = format!("limit: `{}`: queries of one slice (`split.parts_max`) of 1 reached", data("BG."));
    check(&few, &memory, &limited, &[&data("all"), &structure]).await;
}

#[tokio::test]
async fn available_codes_narrow_a_split_and_periods_go_on_with_it() {
    let data = |key: &str, periods: &str| format!("{ROOT}/data/X,F,1.0/{key}?{periods}");
    let available = r#"<m:Structure xmlns:m="m"><Constraints><ContentConstraint agencyID="X" id="C" version="1.0">
        <CubeRegion><KeyValue id="GEO"><Value>BG</Value></KeyValue></CubeRegion></ContentConstraint></Constraints></m:Structure>"#;
    let (whole, first, last) =
        ("startPeriod=2000&endPeriod=2003", "startPeriod=2000&endPeriod=2001", "startPeriod=2002&endPeriod=2003");
    let structure = format!("{ROOT}/dataflow/X/F/1.0?references=descendants");
    let availability = format!("{ROOT}/availableconstraint/X,F,1.0/all/all/all?{whole}&mode=available");
    let memory = Memory::new()
        .on(&data("all", whole), Answer::new(TOO_LARGE))
        .on(&structure, Answer::new(STRUCTURE))
        .on(&availability, Answer::new(available))
        .on(&data("all", first), Answer::new("DATAFLOW,T\nx,2000\n"))
        .on(&data("all", last), Answer::new("DATAFLOW,T\nx,2002\n"));
    let section = "dialect = \"available\"\nflow = { agency = \"X\", id = \"F\", version = \"1.0\" }\nstart_period = \"2000\"\nend_period = \"2003\"";
    let expected =
        format!("page DATAFLOW,T x,2000\npage DATAFLOW,T x,2002\n{}, split into 2 parts of which 0 are empty", end(2));
    let asked = [&data("all", whole), &structure, &availability, &data("all", first), &data("all", last)];
    check(section, &memory, &expected, &asked.map(String::as_str)).await;
}

#[tokio::test]
async fn asynchronous_answers_are_waited_for_on_the_same_host_only() {
    let section = "dialect = \"test\"\nflow = { id = \"F\" }";
    let data = format!("{ROOT}/data/F/all");
    let later = |address: &str| TOO_LARGE.replace("Query size exceeds maximum limit", address);
    let made = "https://p.org/file/7";
    let memory = Memory::new()
        .on(&data, Answer::new(later("http://p.org/file/7")))
        .on(made, Answer::new("").status(404))
        .on(made, Answer::new("PK\u{3}\u{4}zip"));
    check(section, &memory, &format!("page PK\u{3}\u{4}zip\n{}", end(1)), &[&data, made, made]).await;
    let memory = Memory::new().on(&data, Answer::new(later("https://evil.org/file/7")));
    let refused = format!(
        "data: answer of `{data}`: it refers to `https://evil.org/file/7`, which is not on the provider's host"
    );
    check(section, &memory, &refused, &[&data]).await;
    let queued = |state: &str| {
        format!(
            "<e:Envelope xmlns:e=\"e\"><e:Body><r><queued><id>k-1</id><status>{state}</status></queued></r></e:Body></e:Envelope>"
        )
    };
    let (status, ready) = (format!("{ROOT}/status/k-1"), format!("{ROOT}/made/k-1"));
    let memory = Memory::new()
        .on(&data, Answer::new(queued("SUBMITTED")))
        .on(&status, Answer::new(queued("PROCESSING")))
        .on(&status, Answer::new(queued("AVAILABLE")))
        .on(&ready, Answer::new("DATAFLOW,A\nx,1\n"));
    check(section, &memory, &format!("page DATAFLOW,A x,1\n{}", end(1)), &[&data, &status, &status, &ready]).await;
}

#[tokio::test]
async fn unchanged_data_cost_one_request_and_changes_are_asked_for() {
    let plain = source("dialect = \"test\"\nflow = { id = \"F\" }");
    let data = format!("{ROOT}/data/F/all");
    let memory = Memory::new().on(&data, Answer::new("DATAFLOW,A\nx,1\n").header("etag", "\"1\""));
    let mut done = Checkpoint::default();
    run(plain.as_ref(), &memory, &mut done).await;
    assert_eq!(run(plain.as_ref(), &memory, &mut done).await, "unchanged: 304\n");
    assert_eq!(memory.requests(), [format!("GET {data}"), format!("GET {data} [if-none-match: \"1\"]")]);

    let changes = source("dialect = \"test\"\nflow = { id = \"F\" }\nupdated_after = true");
    let since = format!("{data}?updatedAfter=1970-01-01T00%3A00%3A00Z");
    let memory = Memory::new()
        .on(&data, Answer::new("DATAFLOW,A\nx,1\n"))
        .on(&since, Answer::new("No results found").status(404))
        .on(&since, Answer::new("DATAFLOW,ACTION,A\nx,R,2\n"));
    let mut done = Checkpoint::default();
    assert!(changes.plan(&done, &memory.fetcher()).await.unwrap().is_full_extract);
    run(changes.as_ref(), &memory, &mut done).await;
    assert!(!changes.plan(&done, &memory.fetcher()).await.unwrap().is_full_extract);
    assert_eq!(run(changes.as_ref(), &memory, &mut done).await, "unchanged: updatedAfter: nothing since\n");
    assert!(run(changes.as_ref(), &memory, &mut done).await.starts_with("page DATAFLOW,ACTION,A x,R,2\n"));
}

#[tokio::test]
async fn refusals_are_told_and_formats_fall_back() {
    let section = "dialect = \"test\"\nflow = { id = \"F\" }";
    let data = format!("{ROOT}/data/F/all");
    let unknown = "<m:Error xmlns:m=\"m\"><m:ErrorMessage code=\"140\"><Text>Dataflow F not found</Text></m:ErrorMessage></m:Error>";
    for (answer, told) in [
        (Answer::new(unknown).status(404), format!("refused: `{data}` reports 140: Dataflow F not found")),
        (
            Answer::new("No results found.").status(404),
            format!("refused: `{ROOT}` reports no results: No results found."),
        ),
        (Answer::new("bad key").status(400), format!("refused: `{data}` reports 400: bad key")),
        (
            Answer::new("<!DOCTYPE html><html/>"),
            format!("data: answer of `{data}`: it is a web page, not an SDMX message"),
        ),
        (Answer::new(""), format!("data: answer of `{data}`: it is nothing, not an SDMX message")),
    ] {
        check(section, &Memory::new().on(&data, answer), &told, &[&data]).await;
    }
    let memory =
        Memory::new().on(&data, Answer::new("").status(406)).on(&data, Answer::new("<StructureSpecificData/>"));
    check(section, &memory, &format!("page <StructureSpecificData/>\n{}", end(1)), &[&data, &data]).await;
}

#[test]
fn specs_are_checked() {
    for (section, expected) in [
        ("flow = { id = \"F\" }", "endpoint: is missing: give the service's address, or a `dialect`"),
        ("dialect = \"ecb\"\nflow = { id = \"F/..\" }", "flow.id: `F/..` cannot stand in an address"),
        (
            "dialect = \"bis\"\nflow = { id = \"F\" }\nupdated_after = true",
            "updated_after: Bank for International Settlements is not known to heed `updatedAfter`",
        ),
        (
            "dialect = \"ecb\"\nflow = { id = \"F\" }\nkey = \"A\"\nfilters = { A = [\"x\"] }",
            "filters: give either `key` or `filters`",
        ),
        ("dialect = \"ecb\"\nflow = { id = \"F\" }\nresource = \"data\"", "resource: `data` is not one of codelist, "),
    ] {
        let spec: SdmxSpec = toml::from_str(section).unwrap();
        let error = SdmxSource::new(spec, &Dialects::embedded(), &Secrets, job("kind = \"sdmx_csv\"")).unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("setting `source.{}", expected.replacen(": ", "`: ", 1))),
            "{error}"
        );
    }
    assert!(toml::from_str::<SdmxSpec>("flow = { id = \"F\" }\nkeys = \"A\"").is_err());
}
