//! The operations on the web page.

use super::http::{self, WRITES, end, reading};
use super::{Asker, Operation, Stage, letters, same, told};
use crate::serve::page::BROWSER;

pub(super) fn try_all(stage: &Stage, asker: &Asker, operations: &[Operation]) -> Vec<String> {
    operations.iter().map(|operation| tried(stage, asker, *operation)).collect()
}

fn tried(stage: &Stage, asker: &Asker, operation: Operation) -> String {
    let get = |target: &str| stage.served.get_as(asker.token.as_deref(), target, &[BROWSER]);
    let ask = |sql: &str| get(&format!("/sql?q={sql}&run=1"));
    let ends = |ways: Vec<(String, String)>| {
        let tried = ways.into_iter().map(|(way, target)| (way, end(&get(&target)).unwrap_or_else(|| "ok".to_owned())));
        same(tried.collect())
    };
    let statement = |sql: &str| (sql.to_owned(), format!("/sql?q={sql}&run=1"));
    match operation {
        Operation::Ask(sql) => {
            let answer = ask(sql);
            end(&answer).unwrap_or_else(|| told(&answer.text()))
        }
        Operation::Read(table) => {
            let mut ways: Vec<(String, String)> = reading(table).iter().map(|sql| statement(sql)).collect();
            for target in [format!("/tables/{table}"), format!("/tables/{table}/vintages")] {
                ways.push((target.clone(), target));
            }
            ends(ways)
        }
        Operation::List => {
            let answer = get("/");
            end(&answer)
                .unwrap_or_else(|| letters(|table| answer.text().contains(&format!("href=\"/tables/{table}\""))))
        }
        Operation::Columns(table) => {
            let answer = get(&format!("/tables/{table}"));
            end(&answer).unwrap_or_else(|| {
                let text = answer.text();
                let listed = text.split("id=\"columns\"").nth(1).unwrap().split("</section>").next().unwrap();
                let names = ["id", "country", "year", "value", "note"];
                let found = names.into_iter().filter(|name| listed.contains(&format!("<code>{name}</code>")));
                let found: Vec<&str> = found.collect();
                // What the table of columns leaves out is nowhere else on the page.
                for hidden in names.iter().filter(|name| !found.contains(name)) {
                    assert!(!text.contains(&format!("<code>{hidden}</code>")), "{}: {hidden}: {text}", asker.name);
                }
                found.join(",")
            })
        }
        Operation::Write => ends(WRITES.iter().map(|sql| statement(sql)).collect()),
        Operation::Operate => ends(vec![("operations".to_owned(), "/operations".to_owned())]),
        Operation::ShowCitation(table) => http::citation(&get(&format!("/cite/{table}@1"))),
        other => panic!("the page does not offer {other:?}"),
    }
}
