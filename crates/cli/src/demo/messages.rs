//! The demo provider's answers: its figures in the form of each protocol. Pure functions from a request to bytes.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::provider::{Answer, FIRST_RELEASE, REVISED_RELEASE};

const GDP_PER_HEAD: &str = include_str!("figures/gdp_per_head.csv");
const ELECTRICITY_FIRST: &str = include_str!("figures/electricity_first.csv");
const ELECTRICITY_REVISED: &str = include_str!("figures/electricity_revised.csv");
const REGIONAL_GDP: &str = include_str!("figures/regional_gdp.csv");
const RESEARCH: &str = include_str!("figures/research.csv");

/// The indicator's id at the demo's World Bank.
const INDICATOR: &str = "MPD.GDP.PCAP";
/// Observations that the demo's SDMX service gives at once; more are refused with 413, as Eurostat does.
const OBSERVATIONS_MAX: usize = 300;

type Refusal = (StatusCode, String);

/// Finds the answer for a path.
pub(super) fn route(
    path: &str,
    query: &[(String, String)],
    accept: &str,
    base: &str,
    is_revised: bool,
) -> Result<Answer, Refusal> {
    let not_found = || (StatusCode::NOT_FOUND, format!("nothing is at {path}\n"));
    if let Some(rest) = path.strip_prefix("/worldbank/v2/country/all/indicator/") {
        return Ok(world_bank(rest, query));
    }
    if let Some(rest) = path.strip_prefix("/sdmx/rest/") {
        return sdmx(rest, query, accept).ok_or_else(not_found)?;
    }
    if let Some(action) = path.strip_prefix("/ckan/api/3/action/") {
        return Ok(ckan(action, query, base));
    }
    match path {
        "/ckan/download/research.csv" => Ok(Answer {
            content_type: "text/csv; charset=windows-1252",
            body: windows_1252(&RESEARCH.replace('\n', "\r\n")),
            last_modified: FIRST_RELEASE,
        }),
        "/files/electricity.csv" => Ok(electricity(is_revised)),
        _ => Err(not_found()),
    }
}

fn electricity(is_revised: bool) -> Answer {
    let (text, last_modified) =
        if is_revised { (ELECTRICITY_REVISED, REVISED_RELEASE) } else { (ELECTRICITY_FIRST, FIRST_RELEASE) };
    Answer { content_type: "text/csv; charset=utf-8", body: text.as_bytes().to_vec(), last_modified }
}

/// The figures use no letters beyond ASCII; the provider still declares the code page that many portals send.
fn windows_1252(text: &str) -> Vec<u8> {
    text.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap_or(b'?')).collect()
}

fn parameter<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn rows(csv: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    csv.lines().skip(1).map(|line| line.split(',').collect())
}

fn json_answer(value: &Value) -> Answer {
    Answer {
        content_type: "application/json;charset=utf-8",
        body: value.to_string().into_bytes(),
        last_modified: FIRST_RELEASE,
    }
}

/// `[ {page, pages, per_page, total, …}, [rows] ]`, as <https://datahelpdesk.worldbank.org/knowledgebase/articles/898581>
/// describes.
fn world_bank(indicator: &str, query: &[(String, String)]) -> Answer {
    if indicator != INDICATOR {
        let message =
            json!({"id": "120", "key": "Invalid value", "value": "The provided parameter value is not valid"});
        return json_answer(&json!([{ "message": [message] }]));
    }
    let number = |name: &str, default: usize| {
        parameter(query, name).and_then(|text| text.parse().ok()).unwrap_or(default).max(1)
    };
    let (page, per_page) = (number("page", 1), number("per_page", 50));
    let all: Vec<Value> = rows(GDP_PER_HEAD)
        .map(|row| {
            let value: Value = serde_json::from_str(row[4]).unwrap_or(Value::Null);
            json!({
                "indicator": {"id": INDICATOR, "value": "GDP per capita (2011 international $)"},
                "country": {"id": row[1], "value": row[2]},
                "countryiso3code": row[0], "date": row[3], "value": value, "unit": "", "obs_status": "", "decimal": 0,
            })
        })
        .collect();
    let total = all.len();
    let shown: Vec<Value> = all.into_iter().skip((page - 1) * per_page).take(per_page).collect();
    let envelope = json!({
        "page": page, "pages": total.div_ceil(per_page), "per_page": per_page, "total": total,
        "sourceid": "2", "lastupdated": "2022-07-04",
    });
    json_answer(&json!([envelope, shown]))
}

fn sdmx(rest: &str, query: &[(String, String)], accept: &str) -> Option<Result<Answer, Refusal>> {
    let mut parts = rest.trim_end_matches('/').split('/');
    match parts.next()? {
        "data" => {}
        "dataflow" | "datastructure" => return Some(Ok(sdmx_structure())),
        _ => return None,
    }
    let flow = parts.next()?;
    if !flow.split(',').any(|part| part == "NAMA_10R_3GDP") {
        return None;
    }
    let key = parts.next().unwrap_or("all");
    let wanted: Vec<&str> =
        key.rsplit('.').next().unwrap_or("").split('+').filter(|geo| !geo.is_empty() && *geo != "all").collect();
    let from = parameter(query, "startPeriod").unwrap_or("0000");
    let to = parameter(query, "endPeriod").unwrap_or("9999");
    let found: Vec<Vec<&str>> = rows(REGIONAL_GDP)
        .filter(|row| (wanted.is_empty() || wanted.contains(&row[0])) && row[1] >= from && row[1] <= to)
        .collect();
    if found.is_empty() {
        return Some(Err((StatusCode::NOT_FOUND, "no results found for the query\n".to_owned())));
    }
    if found.len() > OBSERVATIONS_MAX {
        let text = format!("the query would give {} observations, more than {OBSERVATIONS_MAX}\n", found.len());
        return Some(Err((StatusCode::PAYLOAD_TOO_LARGE, text)));
    }
    let is_csv = accept.contains("csv")
        || parameter(query, "format").is_some_and(|format| format.to_lowercase().contains("csv"));
    Some(Ok(if is_csv { sdmx_csv(&found) } else { sdmx_ml(&found) }))
}

/// SDMX-CSV 1.0: <https://github.com/sdmx-twg/sdmx-csv>.
fn sdmx_csv(found: &[Vec<&str>]) -> Answer {
    let mut text = String::from("DATAFLOW,freq,unit,geo,TIME_PERIOD,OBS_VALUE,OBS_FLAG\r\n");
    for row in found {
        text.push_str(&format!("ESTAT:NAMA_10R_3GDP(1.0),A,EUR_HAB,{},{},{},{}\r\n", row[0], row[1], row[2], row[3]));
    }
    Answer {
        content_type: "application/vnd.sdmx.data+csv;version=1.0.0",
        body: text.into_bytes(),
        last_modified: FIRST_RELEASE,
    }
}

/// SDMX-ML 2.1 generic, one series a region.
fn sdmx_ml(found: &[Vec<&str>]) -> Answer {
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<m:GenericData xmlns:m=\"http://www.sdmx.org/resources/sdmxml/schemas/v2_1/message\" \
         xmlns:g=\"http://www.sdmx.org/resources/sdmxml/schemas/v2_1/data/generic\">\n<m:Header><m:ID>demo</m:ID><m:Test>false</m:Test>\
         <m:Prepared>2022-07-04T08:00:00</m:Prepared><m:Sender id=\"DEMO\"/></m:Header>\n<m:DataSet structureRef=\"NAMA_10R_3GDP\">\n",
    );
    for series in found.chunk_by(|left, right| left[0] == right[0]) {
        text.push_str(&format!(
            "<g:Series><g:SeriesKey><g:Value id=\"freq\" value=\"A\"/><g:Value id=\"unit\" value=\"EUR_HAB\"/><g:Value id=\"geo\" value=\"{}\"/></g:SeriesKey>\n",
            series[0][0]
        ));
        for row in series {
            text.push_str(&format!("<g:Obs><g:ObsDimension value=\"{}\"/>", row[1]));
            if !row[2].is_empty() {
                text.push_str(&format!("<g:ObsValue value=\"{}\"/>", row[2]));
            }
            if !row[3].is_empty() {
                text.push_str(&format!("<g:Attributes><g:Value id=\"OBS_FLAG\" value=\"{}\"/></g:Attributes>", row[3]));
            }
            text.push_str("</g:Obs>\n");
        }
        text.push_str("</g:Series>\n");
    }
    text.push_str("</m:DataSet>\n</m:GenericData>\n");
    Answer {
        content_type: "application/vnd.sdmx.genericdata+xml;version=2.1",
        body: text.into_bytes(),
        last_modified: FIRST_RELEASE,
    }
}

/// SDMX-ML 2.1 structure message: the dataflow, its dimensions and their codes.
fn sdmx_structure() -> Answer {
    let mut regions: Vec<&str> = rows(REGIONAL_GDP).map(|row| row[0]).collect();
    regions.dedup();
    let lists = [("FREQ", vec!["A"]), ("UNIT", vec!["EUR_HAB"]), ("GEO", regions)];
    let own = "agencyID=\"ESTAT\" version=\"1.0\"";
    let mut codelists = String::new();
    let mut dimensions = String::new();
    for (position, (list, codes)) in lists.iter().enumerate() {
        codelists.push_str(&format!("<s:Codelist id=\"{list}\" {own}><c:Name xml:lang=\"en\">{list}</c:Name>"));
        for code in codes {
            codelists.push_str(&format!("<s:Code id=\"{code}\"><c:Name xml:lang=\"en\">{code}</c:Name></s:Code>"));
        }
        codelists.push_str("</s:Codelist>\n");
        dimensions.push_str(&format!(
            "<s:Dimension id=\"{}\" position=\"{}\"><s:LocalRepresentation><s:Enumeration><Ref id=\"{list}\" {own} class=\"Codelist\" \
             package=\"codelist\"/></s:Enumeration></s:LocalRepresentation></s:Dimension>\n",
            list.to_lowercase(),
            position + 1
        ));
    }
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<m:Structure xmlns:m=\"http://www.sdmx.org/resources/sdmxml/schemas/v2_1/message\" \
         xmlns:s=\"http://www.sdmx.org/resources/sdmxml/schemas/v2_1/structure\" xmlns:c=\"http://www.sdmx.org/resources/sdmxml/schemas/v2_1/common\">\n\
         <m:Header><m:ID>demo</m:ID><m:Test>false</m:Test><m:Prepared>2022-07-04T08:00:00</m:Prepared><m:Sender id=\"DEMO\"/></m:Header>\n\
         <m:Structures>\n<s:Dataflows><s:Dataflow id=\"NAMA_10R_3GDP\" {own}><c:Name xml:lang=\"en\">Regional GDP</c:Name><s:Structure>\
         <Ref id=\"NAMA_10R_3GDP\" {own} class=\"DataStructure\" package=\"datastructure\"/></s:Structure></s:Dataflow></s:Dataflows>\n\
         <s:Codelists>\n{codelists}</s:Codelists>\n<s:DataStructures><s:DataStructure id=\"NAMA_10R_3GDP\" {own}>\
         <c:Name xml:lang=\"en\">Regional GDP</c:Name><s:DataStructureComponents><s:DimensionList id=\"DimensionDescriptor\">\n{dimensions}\
         <s:TimeDimension id=\"TIME_PERIOD\" position=\"4\"/></s:DimensionList>\n<s:MeasureList id=\"MeasureDescriptor\">\
         <s:PrimaryMeasure id=\"OBS_VALUE\"/></s:MeasureList></s:DataStructureComponents></s:DataStructure></s:DataStructures>\n\
         </m:Structures>\n</m:Structure>\n"
    );
    Answer {
        content_type: "application/vnd.sdmx.structure+xml;version=2.1",
        body: text.into_bytes(),
        last_modified: FIRST_RELEASE,
    }
}

/// The CKAN action API: <https://docs.ckan.org/en/latest/api/>.
fn ckan(action: &str, query: &[(String, String)], base: &str) -> Answer {
    let package = json!({
        "id": "7d1c9e56-0d3a-4a55-9d6c-3e2f1f6f0a11", "name": "research-south-east-europe", "title": "Research in South-East Europe",
        "license_id": "CC-BY-4.0", "metadata_modified": "2022-07-04T08:00:00.000000",
        "resources": [{
            "id": "5b0c2a3e-7f60-4f4e-8a0e-0a6c3d0b1c22", "package_id": "7d1c9e56-0d3a-4a55-9d6c-3e2f1f6f0a11",
            "name": "Research", "format": "CSV", "mimetype": "text/csv", "url": format!("{base}/ckan/download/research.csv"),
            "last_modified": "2022-07-04T08:00:00.000000", "size": RESEARCH.len() + RESEARCH.lines().count(), "datastore_active": false,
        }],
    });
    let result = match action {
        "package_search" => {
            let start: usize = parameter(query, "start").and_then(|text| text.parse().ok()).unwrap_or(0);
            let results = if start == 0 { vec![package] } else { Vec::new() };
            json!({"count": 1, "sort": "id asc", "results": results})
        }
        "package_show" if parameter(query, "id").is_some_and(|id| package["id"] == id || package["name"] == id) => {
            package
        }
        _ => {
            let error = json!({"__type": "Not Found Error", "message": "Not found"});
            return json_answer(&json!({"help": "", "success": false, "error": error}));
        }
    };
    json_answer(&json!({"help": "", "success": true, "result": result}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(target: &str, accept: &str) -> Result<String, (u16, String)> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        route(path, &query, accept, "http://127.0.0.1:1", false)
            .map(|answer| String::from_utf8(answer.body).unwrap())
            .map_err(|(status, text)| (status.as_u16(), text))
    }

    #[test]
    fn pages_add_up_to_the_announced_total() {
        let mut total = 0;
        for page in 1..=4 {
            let text = get(
                &format!("/worldbank/v2/country/all/indicator/{INDICATOR}?format=json&per_page=30&page={page}"),
                "",
            )
            .unwrap();
            let value: Value = serde_json::from_str(&text).unwrap();
            assert_eq!((&value[0]["pages"], &value[0]["total"]), (&json!(4), &json!(99)));
            total += value[1].as_array().unwrap().len();
        }
        assert_eq!(total, 99);
    }

    #[test]
    fn large_queries_are_refused_and_parts_are_answered() {
        let refused = get("/sdmx/rest/data/ESTAT,NAMA_10R_3GDP,1.0/all", "").unwrap_err();
        assert_eq!(refused.0, 413);
        let part = get("/sdmx/rest/data/ESTAT,NAMA_10R_3GDP,1.0/A.EUR_HAB.BG41+BG34", "").unwrap();
        assert_eq!(part.matches("<g:Series>").count(), 2);
        let csv = get("/sdmx/rest/data/NAMA_10R_3GDP/A.EUR_HAB.BG41", "application/vnd.sdmx.data+csv").unwrap();
        assert!(csv.lines().count() > 7 && csv.contains("BG41"), "{csv}");
        assert_eq!(get("/sdmx/rest/data/NAMA_10R_3GDP/A.EUR_HAB.XX", "").unwrap_err().0, 404);
    }
}
