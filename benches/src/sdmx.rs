//! A generic SDMX-ML 2.1 message of any size, for measuring decoders.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Result;

/// Observations of one series.
const SERIES: u64 = 60;

pub(crate) fn message(observations: u64, path: &Path) -> Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    out.write_all(
        b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<m:GenericData \
          xmlns:m=\"http://www.sdmx.org/resources/sdmxml/schemas/v2_1/message\" \
          xmlns:g=\"http://www.sdmx.org/resources/sdmxml/schemas/v2_1/data/generic\" \
          xmlns:c=\"http://www.sdmx.org/resources/sdmxml/schemas/v2_1/common\">\n\
          <m:Header><m:ID>bench</m:ID><m:Test>false</m:Test><m:Prepared>2026-01-01T00:00:00</m:Prepared><m:Sender id=\"X\"/>\
          <m:Structure structureID=\"S\" dimensionAtObservation=\"TIME_PERIOD\"><c:Structure><Ref agencyID=\"X\" id=\"S\" version=\"1.0\"/>\
          </c:Structure></m:Structure></m:Header>\n<m:DataSet structureRef=\"S\">\n",
    )?;
    for series in 0..observations.div_ceil(SERIES) {
        writeln!(
            out,
            "<g:Series><g:SeriesKey><g:Value id=\"FREQ\" value=\"A\"/><g:Value id=\"REF_AREA\" value=\"R{:04}\"/>\
             <g:Value id=\"INDICATOR\" value=\"I{:03}\"/></g:SeriesKey><g:Attributes><g:Value id=\"UNIT\" value=\"EUR\"/></g:Attributes>",
            series % 500,
            series / 500
        )?;
        for step in 0..SERIES.min(observations - series * SERIES) {
            writeln!(
                out,
                "<g:Obs><g:ObsDimension value=\"{}\"/><g:ObsValue value=\"{}.{:02}\"/><g:Attributes><g:Value id=\"OBS_STATUS\" value=\"A\"/></g:Attributes></g:Obs>",
                1960 + step,
                series * 7 + step,
                step
            )?;
        }
        out.write_all(b"</g:Series>\n")?;
    }
    out.write_all(b"</m:DataSet>\n</m:GenericData>\n")?;
    Ok(out.flush()?)
}
