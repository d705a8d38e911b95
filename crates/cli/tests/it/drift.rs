//! The source's columns change: what each policy makes of it, from the answer to the table, its rejects and the run's row.

use crate::support::{Provider, Workshop, snapshot_of};

const TABLE: &str = "t.a";
const BEFORE: &str = "id,value,name\n1,10,a\n2,20,b\n";
const ROWS_BEFORE: [&str; 2] = ["1,10,a", "2,20,b"];

/// Publishes [`BEFORE`], collects it, and lets the source change to `after`.
fn changed(policy: &str, after: &str) -> Workshop {
    let provider = Provider::start();
    let workshop = Workshop::new();
    let columns = [("id", "int64"), ("value", "int64"), ("name", "string")];
    let text = snapshot_of(&provider.url("/a.csv"), &columns, 1);
    workshop.pipeline(TABLE, &text.replacen("[write]\n", &format!("[write]\non_drift = \"{policy}\"\n"), 1));
    provider.publish("/a.csv", BEFORE);
    workshop.run(TABLE);
    provider.publish("/a.csv", after);
    let ran = workshop.hambar(&["run", TABLE]);
    if ran.code() != Some(0) {
        assert!([Some(14), Some(15)].contains(&ran.code()), "{policy}, {after}: {ran:?}");
        assert_eq!(rows(&workshop), ROWS_BEFORE, "{policy}, {after}: a failed run leaves the table as it was");
    }
    workshop
}

fn rows(workshop: &Workshop) -> Vec<String> {
    workshop.rows("SELECT id, value, name FROM t.a ORDER BY id")
}

/// The outcome of the last run, and what it says of columns.
fn told(workshop: &Workshop) -> String {
    let sql = "SELECT outcome || coalesce(' ' || error_class, '') || coalesce(' ' || error, '') FROM system.runs \
               ORDER BY started_at DESC LIMIT 1";
    // Texts with commas are in quotes.
    workshop.value(sql).trim_matches('"').to_owned()
}

#[test]
fn every_change_of_columns_fails_where_that_is_the_policy() {
    for (after, what) in [
        ("id,value,name,extra\n1,10,a,x\n2,21,b,y\n", "not declared: `extra`"),
        ("id,value\n1,10\n2,21\n", "missing: `name`"),
        ("id,amount,name\n1,10,a\n2,21,b\n", "not declared: `amount`"),
        ("value,name\n10,a\n21,b\n", "missing: `id`"),
    ] {
        let told = told(&changed("fail", after));
        assert!(told.starts_with("failed drift") && told.contains(what), "{after}: {told}");
    }
}

#[test]
fn columns_in_another_order_are_the_same_columns() {
    for policy in ["fail", "add_columns", "widen", "quarantine"] {
        let workshop = changed(policy, "name,id,value\na,1,10\nb,2,21\n");
        assert_eq!((rows(&workshop), told(&workshop)), (vec!["1,10,a".into(), "2,21,b".into()], "committed".into()));
        assert_eq!(workshop.value("SELECT count(*) FROM t.a__history"), "1", "{policy}: one row was revised");
    }
}

#[test]
fn new_columns_are_added_and_lost_ones_are_empty_with_their_values_in_the_history() {
    for policy in ["add_columns", "widen"] {
        let workshop = changed(policy, "id,amount,name\n1,10,a\n2,21,b\n");
        assert_eq!(rows(&workshop), ["1,,a", "2,,b"], "{policy}");
        assert_eq!(workshop.rows("SELECT amount FROM t.a ORDER BY id"), ["10", "21"], "{policy}");
        assert_eq!(workshop.rows("SELECT value FROM t.a__history ORDER BY id"), ["10", "20"], "{policy}");
        let drift = workshop.value("SELECT drift FROM system.runs WHERE drift IS NOT NULL");
        assert!(drift.contains("amount") && drift.contains("value"), "{policy}: {drift}");
    }
    let workshop = changed("quarantine", "id,value,name,extra\n1,10,a,x\n2,21,b,y\n");
    assert_eq!(rows(&workshop), ["1,10,a", "2,21,b"]);
    assert!(workshop.value("SELECT drift FROM system.runs WHERE drift IS NOT NULL").contains("extra"));
}

#[test]
fn a_value_of_another_type_is_kept_aside_or_makes_its_column_wider() {
    for policy in ["fail", "add_columns", "quarantine"] {
        let workshop = changed(policy, "id,value,name\n1,10.5,a\n2,21,b\n");
        assert_eq!(rows(&workshop), ["2,21,b"], "{policy}");
        let reasons = workshop.rows("SELECT reason FROM t.a__rejects");
        assert!(matches!(&reasons[..], [reason] if reason.contains("10.5")), "{policy}: {reasons:?}");
        assert_eq!(workshop.value("SELECT value FROM t.a__history WHERE id = 1"), "10", "{policy}");
    }
    assert_eq!(rows(&changed("widen", "id,value,name\n1,10.5,a\n2,21,b\n")), ["1,10.500000,a", "2,21.000000,b"]);
}

#[test]
fn rows_are_nothing_without_their_key() {
    // One row without a key would be the only row, and all others withdrawn.
    for policy in ["add_columns", "widen", "quarantine"] {
        let told = told(&changed(policy, "value,name\n10,a\n"));
        assert!(told.starts_with("failed drift") && told.contains("no column `id` any more"), "{policy}: {told}");
    }
}

#[test]
fn an_answer_of_which_nothing_fits_withdraws_nothing() {
    for policy in ["fail", "add_columns", "widen", "quarantine"] {
        let told = told(&changed(policy, "id,value,name\nx,10,a\ny,21,b\n"));
        assert!(told.starts_with("failed data") && told.contains("were rejected (2)"), "{policy}: {told}");
    }
}
