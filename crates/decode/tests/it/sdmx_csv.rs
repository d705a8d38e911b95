//! SDMX-CSV of the official samples and of pysdmx: bookkeeping columns, labels, actions, delimiters.

use std::fs::File;
use std::path::Path;

use hambar_decode::Input;

use crate::sdmx::{Row, read, read_text, shared};

fn rows(folder: &Path, file: &str) -> Vec<Row> {
    let input = Input::File(File::open(folder.join(file)).unwrap());
    read(input, "sdmx_csv").unwrap_or_else(|error| panic!("{file}: {}", hambar_core::Chain(&error)))
}

fn show(row: &Row) -> String {
    row.iter().map(|(name, cell)| format!("{name}={cell}")).collect::<Vec<_>>().join("|")
}

#[test]
fn official_samples_give_their_cells() {
    let Some(folder) = shared() else { return };
    let folder = folder.join("sdmx-test-data/v3/csv");
    for (file, count, first) in [
        (
            "example-01.csv",
            2,
            "ACTION=I|ATTR_1=N|ATTR_2=Y|ATTR_3=Normal, special and other values|DIM_1=A|DIM_2=B|DIM_3=2014-01|OBS_VALUE=12.4|UPDATED=2021-01-22T13:15:41Z",
        ),
        (
            "example-02.csv",
            2,
            "ACTION=I|ATTR_1=X;Y|ATTR_3=Normal, special and other values|DIM_1=A|DIM_2=B|DIM_3=2014-01|OBS_VALUE1=12.4|OBS_VALUE2=12.5",
        ),
        (
            "example-04.csv",
            2,
            "ACTION=I|ATTR_1=N|ATTR_1_label=Non|ATTR_2=Y|ATTR_2_label=Oui|ATTR_3=Normal, special and other values|DIM_1=A|DIM_1_label=Value A|DIM_2=B|DIM_2_label=Value B|DIM_3=2014-01|DIM_3_label=2014-01|OBS_KEY=A.B.2014-01|OBS_VALUE=12,4|SERIES_KEY=A.B",
        ),
        (
            "example-08.csv",
            2,
            "ACTION=I|ATTR_1=en:Any Value;fr:N'importe quelle Valeur|DIM_1=A|DIM_2=B|DIM_3=2014-01|OBS_VALUE=12.4|STRUCTURE_ID=ESTAT:NA_MAIN(1.6.0)",
        ),
        ("example-10.csv", 2, "ACTION=A|ATTR_1=X|DIM_1=A|DIM_2=B|DIM_3=2014-01|OBS_VALUE=12.4"),
        ("example-16.csv", 2, "ACTION=D|DIM_1=A|DIM_2=B|DIM_3=2014-01|OBS_VALUE=-"),
        ("example-19A.csv", 1, "ACTION=D"),
    ] {
        let found = rows(&folder, file);
        assert_eq!((found.len(), show(&found[0]).as_str()), (count, first), "{file}");
    }
}

#[test]
fn labels_are_split_off_and_bad_actions_refused() {
    let Some(folder) = shared() else { return };
    let found = rows(&folder.join("pysdmx/csv-json/csv/sdmx10/reader/samples"), "data_v1_no_freq_cols.csv");
    assert_eq!(
        show(&found[0]),
        "FREQ=A|FREQ_label=Annual|INDICATOR=GCI|INDICATOR_label=GlobalCompetitivenessIndex|OBS_VALUE=102|REF_AREA=GHA|\
         REF_AREA_label=Ghana|SUB_INDICATOR=RANK|SUB_INDICATOR_label=Rank|TIME_PERIOD=2008"
    );
    let bad = folder.join("pysdmx/csv-json/csv/sdmx20/reader/samples/data_v2_invalid_action.csv");
    let error = read(Input::File(File::open(bad).unwrap()), "sdmx_csv").unwrap_err();
    assert_eq!(error.to_string(), "`body` is not SDMX-CSV at record 1: the action `E` is not one of A, D, I, M, R");
}

#[test]
fn csv_ml_and_json_of_one_flow_give_the_same_rows() {
    let csv = "DATAFLOW,FREQ,GEO,TIME_PERIOD,OBS_VALUE,UNIT,OBS_STATUS\n\
               E:F(1.0),A,BG,2020-Q1,40.3000,EUR,A\nE:F(1.0),A,BG,2020-W53,,EUR,M\nE:F(1.0),A,\"D,E\",2020-S2,-1,EUR,\n";
    let ml = "<m:StructureSpecificData xmlns:m=\"m\"><m:DataSet UNIT=\"EUR\"><Series FREQ=\"A\" GEO=\"BG\">\
              <Obs TIME_PERIOD=\"2020-Q1\" OBS_VALUE=\"40.3000\" OBS_STATUS=\"A\"/><Obs TIME_PERIOD=\"2020-W53\" OBS_STATUS=\"M\"/>\
              </Series><Series FREQ=\"A\" GEO=\"D,E\"><Obs TIME_PERIOD=\"2020-S2\" OBS_VALUE=\"-1\"/></Series></m:DataSet></m:StructureSpecificData>";
    let generic = "<GenericData><DataSet><Attributes><Value id=\"UNIT\" value=\"EUR\"/></Attributes>\
        <Series><SeriesKey><Value id=\"FREQ\" value=\"A\"/><Value value=\"BG\" id=\"GEO\"/></SeriesKey>\
        <Obs><ObsDimension value=\"2020-Q1\"/><ObsValue value=\"40.3000\"/><Attributes><Value id=\"OBS_STATUS\" value=\"A\"/></Attributes></Obs>\
        <Obs><ObsDimension value=\"2020-W53\"/><Attributes><Value id=\"OBS_STATUS\" value=\"M\"/></Attributes></Obs></Series>\
        <Series><SeriesKey><Value id=\"FREQ\" value=\"A\"/><Value id=\"GEO\" value=\"D,E\"/></SeriesKey>\
        <Obs><ObsDimension value=\"2020-S2\"/><ObsValue value=\"-1\"/></Obs></Series></DataSet></GenericData>";
    let json = r#"{"data":{"dataSets":[{"structure":0,"attributes":[0],"series":{
        "0:0":{"observations":{"0":[40.3000,0],"1":[null,1]}},"0:1":{"observations":{"2":[-1]}}}}],
        "structures":[{"dimensions":{"series":[{"id":"FREQ","values":[{"id":"A"}]},{"id":"GEO","values":[{"id":"BG"},{"id":"D,E"}]}],
        "observation":[{"id":"TIME_PERIOD","values":[{"id":"2020-Q1"},{"value":"2020-W53"},{"id":"2020-S2"}]}]},
        "attributes":{"dataSet":[{"id":"UNIT","values":[{"id":"EUR"}]}],"observation":[{"id":"OBS_STATUS","values":[{"id":"A"},{"id":"M"}]}]}}]}}"#;
    let expected = read_text(csv, "sdmx_csv").unwrap();
    assert_eq!(expected.len(), 3);
    assert_eq!(read_text(ml, "sdmx_ml").unwrap(), expected);
    assert_eq!(read_text(generic, "sdmx_ml").unwrap(), expected);
    assert_eq!(read_text(json, "sdmx_json").unwrap(), expected);
}
