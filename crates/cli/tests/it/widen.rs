//! `on_drift = "widen"` from end to end: a value that needs a wider type gives it to the table, its history and every
//! earlier instant; dying on the way does no harm, and nothing ever becomes narrower.

use std::os::unix::process::ExitStatusExt;

use hambar_run::FAULT_POINTS;

use crate::support::{Provider, Ran, Workshop, now, snapshot_of};

const TABLE: &str = "test.wide";
const SELECT: &str = "SELECT id, value, arrow_typeof(value) FROM test.wide";

fn declare(workshop: &Workshop, provider: &Provider, kind: &str, on_drift: &str) {
    let text = snapshot_of(&provider.url("/wide.csv"), &[("id", "int64"), ("value", kind)], 1);
    workshop.pipeline(TABLE, &text.replace("[write]\n", &format!("[write]\non_drift = \"{on_drift}\"\n")));
}

fn publish(provider: &Provider, values: [&str; 2]) {
    provider.publish("/wide.csv", &format!("id,value\n1,{}\n2,{}\n", values[0], values[1]));
}

/// The table has these values of this type, now or as of an instant.
#[track_caller]
fn check(workshop: &Workshop, clause: &str, values: [&str; 2], kind: &str) {
    let expected = [format!("1,{},{kind}", values[0]), format!("2,{},{kind}", values[1])];
    let found: Vec<String> =
        workshop.rows(&format!("{SELECT}{clause}")).iter().map(|line| line.replace('"', "")).collect();
    assert_eq!(found, expected, "{clause}");
}

#[test]
fn a_value_that_needs_a_wider_type_widens_the_past_too() {
    for (declared, first, second, kind, shown) in [
        ("int32", ["7", "20"], ["7", "3000000000"], "Int64", ["7", "20"]),
        ("int32", ["7", "20"], ["7", "20.5"], "Float64", ["7.0", "20.0"]),
        ("int64", ["7", "20"], ["7", "12345678901234567890"], "Decimal128(20, 0)", ["7", "20"]),
        ("decimal(4,1)", ["7.5", "0.1"], ["7.5", "123456.1"], "Decimal128(38, 1)", ["7.5", "0.1"]),
    ] {
        let (workshop, provider) = (Workshop::new(), Provider::start());
        declare(&workshop, &provider, declared, "widen");
        publish(&provider, first);
        workshop.run(TABLE);
        let instant = now();
        publish(&provider, second);
        let said = workshop.run(TABLE);
        assert!(said.contains("committed version"), "{said}");
        check(&workshop, "", [shown[0], second[1]], kind);
        check(&workshop, &format!(" FOR SYSTEM_TIME AS OF '{instant}'"), shown, kind);
        // The pipeline file still declares the narrow type: that is fine, and narrow values go on.
        publish(&provider, first);
        workshop.run(TABLE);
        check(&workshop, "", shown, kind);
        let revised = workshop.value("SELECT count(*) FROM history('test.wide')");
        assert_eq!(revised, "2");
        workshop.fsck();
        declare(&workshop, &provider, declared, "fail");
        workshop.hambar(&["run", TABLE]).fails(14, &["column `value`: stored as", "never narrower"]);
    }
}

#[test]
fn a_wider_declaration_widens_the_table_where_it_may() {
    let (workshop, provider) = (Workshop::new(), Provider::start());
    declare(&workshop, &provider, "int32", "fail");
    publish(&provider, ["7", "20"]);
    workshop.run(TABLE);
    declare(&workshop, &provider, "int64", "fail");
    workshop.hambar(&["run", TABLE]).fails(14, &["stored as Int32, declared as Int64", "on_drift"]);
    declare(&workshop, &provider, "string", "widen");
    workshop.hambar(&["run", TABLE]).fails(14, &["stored as Int32, declared as Utf8"]);
    declare(&workshop, &provider, "int64", "widen");
    workshop.run(TABLE);
    check(&workshop, "", ["7", "20"], "Int64");
    workshop.fsck();
}

#[test]
fn a_run_that_widens_may_die_at_each_stop() {
    for point in FAULT_POINTS {
        let (workshop, provider) = (Workshop::new(), Provider::start());
        declare(&workshop, &provider, "int32", "widen");
        publish(&provider, ["7", "20"]);
        workshop.run(TABLE);
        let instant = now();
        publish(&provider, ["7", "3000000000"]);
        let mut command = workshop.command(&["run", TABLE]);
        let ran = Ran::of(command.env("HAMBAR_FAULT_POINT", point));
        assert_eq!(ran.output.status.signal(), Some(6), "{point}: {}{}", ran.stdout, ran.stderr);
        workshop.run(TABLE);
        check(&workshop, "", ["7", "3000000000"], "Int64");
        check(&workshop, &format!(" FOR SYSTEM_TIME AS OF '{instant}'"), ["7", "20"], "Int64");
        assert_eq!(workshop.value("SELECT count(*) FROM history('test.wide')"), "1", "{point}");
        workshop.fsck();
    }
}
