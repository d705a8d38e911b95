//! Row policies and quotas by Flight SQL: the same rows and the same refusals as by HTTP.

use arrow_flight::sql::CommandGetTables;
use tonic::Code;

use super::{Client, served, status, texts};
use crate::serve::page::until;

#[test]
fn the_same_rows_are_seen_and_the_same_is_refused() {
    let served = served("");
    let members = |arguments: &[&str]| served.workshop.hambar(&[&["members"], arguments].concat()).ok();
    let token = served.token("narrow", "reader", "*");
    let mut client = Client::new(&served, &token);
    let sql = "SELECT DISTINCT country FROM demo.figures ORDER BY 1";
    let before = client.info(sql).unwrap();
    assert_eq!(texts(&client.rows(&before).unwrap()[0], "country"), ["BGR", "GRC", "ROU"]);
    let mut prepared = client.runtime.block_on(client.sql.prepare(sql.to_owned(), None)).unwrap();
    members(&["set-policy", "tests", "demo.figures", "country = 'BGR'", "--role", "reader"]);
    until("the policy holds", || client.number("SELECT count(*) FROM demo.figures") == 667);
    // Tickets and prepared statements of before are questions, not answers.
    assert_eq!(texts(&client.rows(&before).unwrap()[0], "country"), ["BGR"]);
    let info = client.runtime.block_on(prepared.execute()).unwrap();
    assert_eq!(texts(&client.rows(&info).unwrap()[0], "country"), ["BGR"]);
    assert_eq!(Client::new(&served, &served.token).number("SELECT count(*) FROM demo.figures"), 2_000);
    let listed = CommandGetTables { include_schema: true, ..CommandGetTables::default() };
    let listed = client.runtime.block_on(client.sql.get_tables(listed));
    assert!(texts(&client.told(listed), "table_name").contains(&"figures".to_owned()));
    let rejects = client.ask("SELECT * FROM demo.figures__rejects").unwrap_err();
    assert!([Code::PermissionDenied, Code::NotFound].contains(&rejects.code()), "{rejects:?}");
    members(&["set-quota", "tests", "--queries", "1"]);
    until("the quota holds", || client.ask("SELECT 1").is_err());
    let refused = client.ask("SELECT 1").unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("its 1 queries of the day"), "{refused:?}");
    client.runtime.block_on(prepared.close()).map_err(status).unwrap();
}
